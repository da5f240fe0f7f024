#!/bin/sh
# Starts a program of the packages beside this file, with their own loader and libraries: the system's C
# library may be older.
set -e
root=$(cd "${0%/*}/../root" && pwd)
for loader in "$root"/usr/lib/*/ld-linux-*.so.*; do break; done
libraries=${loader%/*}

# run PROGRAM ARGUMENTS
run() {
    program=$1
    shift
    exec "$loader" --inhibit-cache --library-path "$libraries" --argv0 "${0##*/}" "$root/$program" "$@"
}

