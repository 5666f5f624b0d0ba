#!/bin/sh
# What nydus-snapshotter and containerd need on the node. In the environment:
#   HOST               where the node's file system is seen ("": this is the node)
#   INSTALL            directory of the node for the programs and their libraries; "": none
#   CONTAINERD         off, check (say what is missing, by the config's text), write (ask containerd what its
#                      config says, write what is missing, and restart containerd; back to what it was, where
#                      containerd does not understand the new config or does not come up with it)
#   CONTAINERD_CONFIG, SNAPSHOTTER, SNAPSHOTTER_SOCKET
#   SNAPSHOTTER_CONFIG, MOUNTS
#                      the snapshotter's configuration, whose root must lie below one of the directories MOUNTS:
#                      the agent sees nothing else of the node
#   RUN_DIR            where the node has api.sock: what is installed looks for the agent there
# Where the config names the proxy plugin already, nothing is written and nothing restarted.
set -eu
HOST=${HOST-} INSTALL=${INSTALL-} CONTAINERD=${CONTAINERD:-check}
CONTAINERD_CONFIG=${CONTAINERD_CONFIG:-/etc/containerd/config.toml}
SNAPSHOTTER=${SNAPSHOTTER:-nydus}
SNAPSHOTTER_SOCKET=${SNAPSHOTTER_SOCKET:-/run/containerd-nydus/containerd-nydus-grpc.sock}

SNAPSHOTTER_CONFIG=${SNAPSHOTTER_CONFIG:-/etc/nydus/config.toml}
MOUNTS=${MOUNTS-}

# ---- the programs ----

# The program with its libraries and the loader that they are for, so that the node's own libraries,
# whatever they are, do not matter; and a script by its name that starts it so. As .NAME.new for now.
stage_program() { # NAME
  program=$(command -v "$1") || return 0
  loader=
  libraries=$(ldd "$program" | awk '$2 == "=>" && $3 ~ /^\// { print $3 } $1 ~ /^\// { print $1 }')
  for library in $libraries; do
    cp -L "$library" "$root/lib/.$(basename "$library").new"
    case $library in */ld-linux*) loader=$(basename "$library") ;; esac
  done
  [ -n "$loader" ] || { echo "$1: its loader is not known" >&2; return 1; }
  cp -L "$program" "$root/lib/.$1.bin.new"
  {
    echo '#!/bin/sh'
    echo "export SHOAL_SOCKET=\"\${SHOAL_SOCKET:-${RUN_DIR:-/run/shoal}/api.sock}\""
    echo "export SHOAL_OWN_AGENT=no" # also while the agent's pod is replaced
    echo "exec $INSTALL/lib/$loader --library-path $INSTALL/lib --argv0 \"\$0\" $INSTALL/lib/$1.bin \"\$@\""
  } >"$root/bin/.$1.new"
  chmod 755 "$root/bin/.$1.new"
}

drop_staged() {
  rm -f "$root"/lib/.*.new "$root"/bin/.*.new
}

# All of it is there before any of it replaces what was: with some of the libraries of another version
# an old program might not start.
install_programs() {
  mkdir -p "$root/bin" "$root/lib"
  drop_staged
  for program in shoal nydusd; do stage_program "$program"; done
  for new in "$root"/lib/.*.new "$root"/bin/.*.new; do
    name=${new##*/.}
    name=${name%.new}
    mv "$new" "${new%/*}/$name"
    case $new in */bin/*) echo "installed: $INSTALL/bin/$name" ;; esac
  done
}

# ---- containerd ----

host() { # COMMAND...: as on the node itself
  nsenter --target 1 --mount --uts --ipc --net -- "$@"
}

# The address of the proxy plugin in containerd's own words for FILE, with all that it imports: the
# forms that TOML has for it, and what the versions of the config make of it, are containerd's business.
address_in_dump() { # FILE, as the node sees it
  host containerd --config "$1" config dump 2>"$scratch" >"$scratch.dump" || return 1
  awk -v name="$SNAPSHOTTER" '
    /^[ \t]*\[/ { gsub(/[] \t["\047]/, ""); inside = $0 == "proxy_plugins." name; next }
    inside && $1 == "address" { gsub(/["\047]/, "", $3); print $3 }' "$scratch.dump"
}

# Where containerd cannot be asked: does one of these files name the plugin? Each form that TOML has for
# it; "imports FILE" for each import.
read_texts() { # FILE...
  awk -v name="$SNAPSHOTTER" '
    FNR == 1 { table = ""; importing = 0 }
    { sub(/^[ \t]*#.*/, ""); sub(/[ \t]#[^"]*$/, ""); gsub(/[ \t"\047]/, "") }
    /^\[/ { table = $0; gsub(/[][]/, "", table); found = found || table == "proxy_plugins." name; next }
    table == "" && /^imports=/ { importing = 1 }
    importing { line = $0; sub(/^imports=/, "", line); n = split(line, files, /[],[]/)
      for (i = 1; i <= n; i++) if (files[i] != "") print "imports " files[i]
      importing = !/]/ }
    { key = $0; sub(/=.*/, "", key); if (table != "") key = table "." key
      if (index(key ".", "proxy_plugins." name ".") == 1) found = 1
      if (key == "proxy_plugins" && index($0, "{" name "=") + index($0, "," name "=") + index($0, "{" name ".") + index($0, "," name ".")) found = 1 }
    END { if (found) print "named" }' "$@"
}

names_plugin_in_text() {
  [ -f "$HOST$CONTAINERD_CONFIG" ] || return 1
  said=$(read_texts "$HOST$CONTAINERD_CONFIG")
  for import in $(echo "$said" | sed -n 's/^imports //p'); do
    case $import in /*) ;; *) import=$(dirname "$CONTAINERD_CONFIG")/$import ;; esac
    for file in $HOST$import; do
      [ ! -f "$file" ] || said="$said
$(read_texts "$file")"
    done
  done
  echo "$said" | grep -qx named
}

plugin_text() {
  printf '[proxy_plugins.%s]\n  type = "snapshot"\n  address = "%s"\n' "$SNAPSHOTTER" "$SNAPSHOTTER_SOCKET"
}

not_written() { # WHY
  echo "containerd's config is left as it is: $1. What it needs, and then a restart:" >&2
  plugin_text >&2
}

# At any moment there is a whole config, and the old one, for whoever is killed here.
replace() { # FILE BY
  cp -p "$2" "$1.shoal-new"
  mv "$1.shoal-new" "$1"
}

# The config is new: restart containerd, or have the old config again where it does not come up.
restart_containerd() {
  : >"$config.shoal-pending"
  if host systemctl restart containerd && host systemctl is-active --quiet containerd; then
    rm -f "$config.shoal-pending"
    return 0
  fi
  replace "$config.shoal-refused" "$config"
  if [ -f "$config.before-shoal" ]; then replace "$config" "$config.before-shoal"; else rm "$config"; fi
  restart_old
  not_written "containerd did not come up with what was added, which is in $CONTAINERD_CONFIG.shoal-refused (remove that to have it tried again)"
}

restart_old() {
  host systemctl restart containerd || echo "containerd does not come up with its old config either" >&2
  rm -f "$config.shoal-pending"
}

write_config() {
  if [ -f "$config" ]; then
    cp -p "$config" "$config.shoal-new"
    [ -z "$(tail -c 1 "$config.shoal-new")" ] || echo >>"$config.shoal-new"
  else
    echo 'version = 2' >"$config.shoal-new"
  fi
  { echo; plugin_text; } >>"$config.shoal-new"
  if [ "$(address_in_dump "$CONTAINERD_CONFIG.shoal-new")" != "$SNAPSHOTTER_SOCKET" ]; then
    rm -f "$config.shoal-new"
    not_written "containerd does not understand it with the plugin added: $(cat "$scratch")"
  elif cmp -s "$config.shoal-new" "$config.shoal-refused"; then
    rm -f "$config.shoal-new"
    not_written "containerd did not come up with it before (remove $CONTAINERD_CONFIG.shoal-refused to have it tried again)"
  else
    if [ -f "$config" ]; then replace "$config.before-shoal" "$config"; else rm -f "$config.before-shoal"; fi
    : >"$config.shoal-pending"
    mv "$config.shoal-new" "$config"
    echo "containerd's config names the proxy plugin $SNAPSHOTTER now (before: $CONTAINERD_CONFIG.before-shoal): restarting containerd"
    restart_containerd
  fi
}

setup_containerd() {
  config=$HOST$CONTAINERD_CONFIG
  mkdir -p "$(dirname "$config")"
  scratch=$(mktemp)
  trap 'rm -f "$scratch" "$scratch.dump"' EXIT
  address=
  [ -e "$config" ] || [ ! -f "$config.shoal-pending" ] || restart_old
  if [ -L "$config" ]; then
    not_written "$CONTAINERD_CONFIG is a link"
    return 0
  elif [ -f "$config" ] && ! address=$(address_in_dump "$CONTAINERD_CONFIG"); then
    not_written "containerd does not tell what it makes of it: $(cat "$scratch")"
    return 0
  fi
  if [ -z "$address" ]; then
    write_config
    return 0
  fi
  echo "containerd's config names the proxy plugin $SNAPSHOTTER: left as it is"
  [ "$address" = "$SNAPSHOTTER_SOCKET" ] ||
    echo "with the address $address there, and $SNAPSHOTTER_SOCKET in the chart's values (node.snapshotterSocket)" >&2
  [ ! -f "$config.shoal-pending" ] || restart_containerd
}

check_containerd() {
  if names_plugin_in_text; then
    echo "containerd's config names the proxy plugin $SNAPSHOTTER: left as it is"
  else
    echo "containerd's config $CONTAINERD_CONFIG does not name the proxy plugin; it needs, and then a restart:"
    plugin_text
  fi
}

# ---- the snapshotter ----

check_root() {
  root= where="$SNAPSHOTTER_CONFIG says"
  if [ -f "$HOST$SNAPSHOTTER_CONFIG" ]; then
    root=$(awk '/^[ \t]*\[/ { exit } /^[ \t]*root[ \t]*=/ { sub(/^[^=]*=[ \t]*["\047]/, ""); sub(/["\047].*/, ""); print; exit }' \
      "$HOST$SNAPSHOTTER_CONFIG")
  else
    where="unless its configuration says otherwise (there is no $SNAPSHOTTER_CONFIG)"
  fi
  [ -n "$root" ] || root=/var/lib/containerd/io.containerd.snapshotter.v1.nydus # its default
  for dir in $MOUNTS; do
    case $root/ in "${dir%/}"/*) echo "the snapshotter's root is $root ($where): the agent sees it"; return 0 ;; esac
  done
  echo "the snapshotter's root is $root ($where), and the agent sees nothing of that: put it into the chart's values" \
    "(hostPaths.mounts, now: $MOUNTS), or images of containers cannot be mounted" >&2
}

case $CONTAINERD in off | check | write) ;; *) echo "CONTAINERD: off, check or write" >&2; exit 2 ;; esac
# Nothing of this keeps the agent from starting: containers that run already have their files from it.
# Each in a shell of its own, so that a step that fails (a full disk) is the last one.
if [ -n "$INSTALL" ]; then
  root=$HOST$INSTALL
  install_programs &
  wait $! || {
    echo "the programs in $INSTALL were not installed: what is there stays, and it is tried again when the pod is replaced" >&2
    drop_staged
  }
fi
case $CONTAINERD in
  check) check_containerd ;;
  write)
    setup_containerd &
    wait $! || not_written "that failed"
    ;;
esac
[ "$CONTAINERD" = off ] || [ -z "$MOUNTS" ] || check_root || true
