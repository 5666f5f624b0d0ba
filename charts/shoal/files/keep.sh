#!/bin/sh
# Have every image of a list whole in this agent, and look again every so often: keep.sh LIST SECONDS
# What is here already moves no byte. Without SECONDS it looks once; exit 1 when an image is not whole.
set -u
list=$1 every=${2:-}
trap 'exit 0' TERM INT

look() {
  failed=0
  while read -r image; do
    [ -n "$image" ] || continue
    if shoal prefetch "$image"; then
      echo "here: $image"
    else
      echo "not here: $image"
      failed=1
    fi
  done <"$list"
  return $failed
}

until shoal status >/dev/null 2>&1; do
  sleep 1 & wait $!
done
while :; do
  look && result=0 || result=1
  [ -n "$every" ] || exit $result
  sleep "$every" & wait $!
done
