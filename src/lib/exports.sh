#!/bin/sh
# SPDX-License-Identifier: MIT
# exports.sh HEADER...: the version script of the shared library, which shows what the public headers declare and hides the
# rest. Comments can name functions, so they are taken away first.
set -eu
echo '{ global:'
cat -- "$@" | sed -e 's|/\*.*\*/||g' -e '/\/\*/,/\*\//d' | grep -oE '\brfs_[a-z0-9_]+(\(|\[)' | tr -d '([' | sort -u | sed 's/$/;/'
echo 'local: *; };'
