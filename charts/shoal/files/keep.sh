#!/bin/sh
# Have every image of a list pinned and whole in this agent, and no other one pinned; look again every so
# often, for a tag may mean another image then: keep.sh LIST SECONDS
# What is here already moves no byte. Without SECONDS it looks once; exit 1 when an image is not whole.
set -u
list=$1 every=${2:-}
trap 'exit 0' TERM INT

until shoal status >/dev/null 2>&1; do
  sleep 1 & wait $!
done
while :; do
  shoal pin --list "$list" && result=0 || result=1
  [ -n "$every" ] || exit $result
  sleep "$every" & wait $!
done
