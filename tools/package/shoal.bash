# bash completion of shoal. What there is to complete is asked of shoal itself (--print-docs words).

_shoal_images() {
  shoal --json image ls 2>/dev/null | grep -o '"name": *"[^"]*"' | sed 's/.*: *"\(.*\)"/\1/'
}

_shoal() {
  local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]}
  local words=() i name args options found='' n_args=0 kind
  for ((i = 1; i < COMP_CWORD; i++)); do
    case ${COMP_WORDS[i]} in
      --socket | --auth-file | --bootstrap | --blobs | --how | --list | --to | --offset) ((i++)) ;;
      -* | = | :) ;;
      *) words+=("${COMP_WORDS[i]}") ;;
    esac
  done
  COMPREPLY=()
  case $prev in
    --socket | --auth-file | --bootstrap | --list) mapfile -t COMPREPLY < <(compgen -f -- "$cur"); return ;;
    --how) mapfile -t COMPREPLY < <(compgen -W 'auto tree erofs' -- "$cur"); return ;;
    --blobs | --to | --offset) return ;;
  esac

  local firsts='' seconds=''
  while IFS=$'\001' read -r name args options; do # tabs side by side would count as one
    firsts+=" ${name%% *}"
    if [ "${words[*]:0:2}" = "$name" ] || [ "${words[0]-}" = "$name" ]; then
      found=$name n_args=$((${#words[@]} - $(wc -w <<<"$name")))
      kind=$(cut -d ' ' -f $((n_args + 1)) <<<"$args ")
      break
    elif [ "${#words[@]}" = 1 ] && [ "${words[0]} ${name#* }" = "$name" ]; then
      seconds+=" ${name#* }"
    fi
  done < <(shoal --print-docs words | tr '\t' '\001')

  if [[ $cur == -* ]]; then
    [ -n "$found" ] || options='--socket --json --help --version'
    options=$(sed 's/=[A-Z]*//g' <<<"$options")
    mapfile -t COMPREPLY < <(compgen -W "$options" -- "$cur")
  elif [ -n "$found" ]; then
    case $kind in
      *IMAGE*)
        mapfile -t COMPREPLY < <(compgen -W "$(_shoal_images)" -- "$cur"
          [ "$kind" = IMAGE ] || compgen -f -- "$cur")
        if declare -F __ltrim_colon_completions >/dev/null; then __ltrim_colon_completions "$cur"; fi
        ;;
      DIR) mapfile -t COMPREPLY < <(compgen -d -- "$cur") ;;
      PATH) mapfile -t COMPREPLY < <(compgen -f -- "$cur") ;;
    esac
  elif [ -n "$seconds" ]; then
    mapfile -t COMPREPLY < <(compgen -W "$seconds" -- "$cur")
  elif [ ${#words[@]} = 0 ]; then
    mapfile -t COMPREPLY < <(compgen -W "$firsts" -- "$cur" | sort -u)
  fi
}
complete -o filenames -F _shoal shoal
