#!/bin/sh
# What nydus-snapshotter and containerd need on the node. In the environment:
#   HOST               where the node's file system is seen ("": this is the node)
#   INSTALL            directory of the node for the programs and their libraries; "": none
#   CONTAINERD         off, check (say what is missing), write (write it, and restart containerd)
#   CONTAINERD_CONFIG, SNAPSHOTTER, SNAPSHOTTER_SOCKET
#   RUN_DIR            where the node has api.sock: what is installed looks for the agent there
# Where the config names the proxy plugin already, nothing is written and nothing restarted.
set -eu
HOST=${HOST-} INSTALL=${INSTALL-} CONTAINERD=${CONTAINERD:-check}
CONTAINERD_CONFIG=${CONTAINERD_CONFIG:-/etc/containerd/config.toml}
SNAPSHOTTER=${SNAPSHOTTER:-nydus}
SNAPSHOTTER_SOCKET=${SNAPSHOTTER_SOCKET:-/run/containerd-nydus/containerd-nydus-grpc.sock}

# The program with its libraries and the loader that they are for, so that the node's own libraries,
# whatever they are, do not matter; and a script by its name that starts it so.
install_program() { # NAME
  program=$(command -v "$1") || return 0
  root=$HOST$INSTALL
  mkdir -p "$root/bin" "$root/lib"
  loader=
  for library in $(ldd "$program" | awk '$2 == "=>" && $3 ~ /^\// { print $3 } $1 ~ /^\// { print $1 }'); do
    cp -L "$library" "$root/lib/.new"
    mv "$root/lib/.new" "$root/lib/$(basename "$library")"
    case $library in */ld-linux*) loader=$(basename "$library") ;; esac
  done
  [ -n "$loader" ] || { echo "$1: its loader is not known" >&2; return 1; }
  cp -L "$program" "$root/lib/.new"
  mv "$root/lib/.new" "$root/lib/$1.bin"
  {
    echo '#!/bin/sh'
    echo "export SHOAL_SOCKET=\"\${SHOAL_SOCKET:-${RUN_DIR:-/run/shoal}/api.sock}\""
    echo "exec $INSTALL/lib/$loader --library-path $INSTALL/lib --argv0 \"\$0\" $INSTALL/lib/$1.bin \"\$@\""
  } >"$root/bin/.new"
  chmod 755 "$root/bin/.new"
  mv "$root/bin/.new" "$root/bin/$1"
  echo "installed: $INSTALL/bin/$1"
}

# Does the config, or a file beside it that it may import, name the plugin?
names_plugin() {
  for file in "$HOST$CONTAINERD_CONFIG" "$HOST$(dirname "$CONTAINERD_CONFIG")"/conf.d/*.toml; do
    [ -f "$file" ] || continue
    if awk -v name="$SNAPSHOTTER" '
      { gsub(/[ \t"'\'']/, "") }
      $0 == "[proxy_plugins." name "]" { found = 1 }
      END { exit !found }' "$file"; then
      return 0
    fi
  done
  return 1
}

plugin_text() {
  printf '[proxy_plugins.%s]\n  type = "snapshot"\n  address = "%s"\n' "$SNAPSHOTTER" "$SNAPSHOTTER_SOCKET"
}

setup_containerd() {
  config=$HOST$CONTAINERD_CONFIG
  if names_plugin; then
    echo "containerd's config names the proxy plugin $SNAPSHOTTER: left as it is"
    return 0
  fi
  if [ "$CONTAINERD" != write ]; then
    echo "containerd's config $CONTAINERD_CONFIG does not name the proxy plugin; it needs, and then a restart:"
    plugin_text
    return 0
  fi
  mkdir -p "$(dirname "$config")"
  if [ -f "$config" ]; then
    cp -p "$config" "$config.before-shoal"
    cp -p "$config" "$config.new"
    [ -z "$(tail -c 1 "$config.new")" ] || echo >>"$config.new"
  else
    echo 'version = 2' >"$config.new"
  fi
  { echo; plugin_text; } >>"$config.new"
  mv "$config.new" "$config"
  echo "containerd's config names the proxy plugin $SNAPSHOTTER now (before: $CONTAINERD_CONFIG.before-shoal): restarting containerd"
  nsenter --target 1 --mount --uts --ipc --net systemctl restart containerd
}

case $CONTAINERD in off | check | write) ;; *) echo "CONTAINERD: off, check or write" >&2; exit 2 ;; esac
if [ -n "$INSTALL" ]; then
  for program in shoal nydusd; do install_program "$program"; done
fi
[ "$CONTAINERD" = off ] || setup_containerd
