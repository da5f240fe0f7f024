#![doc = include_str!("../README.md")]
#![no_std]
#![deny(unsafe_code)]

#[cfg(target_os = "none")]
pub mod frames;
#[cfg(target_os = "none")]
mod panic;
#[cfg(target_os = "none")]
pub mod request;
