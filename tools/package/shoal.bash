# bash completion of shoal. What there is to complete is asked of shoal itself (--print-docs words).

_shoal_images() { # [--socket PATH]
  shoal "$@" --json image ls 2>/dev/null | grep -o '"name": *"[^"]*"' | sed 's/.*: *"\(.*\)"/\1/'
}

# typed: the words up to the cursor as they were typed: bash breaks them at colons, and images have those.
# broken: what of the last one is another word to bash, and stays when it is completed.
_shoal_typed() {
  local rest=$COMP_LINE last=${COMP_WORDS[COMP_CWORD]} i
  for ((i = 0; i <= COMP_CWORD; i++)); do
    if [ $i = 0 ] || [[ $rest == [[:space:]]* ]]; then
      rest=${rest#"${rest%%[![:space:]]*}"} typed+=("${COMP_WORDS[i]}")
    else
      typed[-1]+=${COMP_WORDS[i]}
    fi
    rest=${rest#"${COMP_WORDS[i]}"}
  done
  broken=${typed[-1]}
  [[ $last != *[!:=]* ]] || broken=${broken%"$last"}
  broken=${broken//\\/}
}

_shoal() {
  local typed=() broken='' cur prev
  _shoal_typed
  cur=${typed[-1]} prev=${typed[-2]-}
  local path=${cur#[\"\']} # without what quotes it
  path=${path//\\/}
  local words=() agent=() i name args options found='' n_args=0 kind table option
  local -A takes=() # option -> what its value is
  table=$(shoal --print-docs words)
  for option in $(grep -o -- '--[a-z-]*=[A-Z]*' <<<"$table" | sort -u); do
    takes[${option%%=*}]=${option#*=}
  done
  for ((i = 1; i < ${#typed[@]} - 1; i++)); do
    case ${typed[i]} in
      --socket=*) agent=("${typed[i]}") ;;
      --socket) ((i++)) && agent=(--socket "${typed[i]}") ;;
      -*) [ -z "${takes[${typed[i]}]-}" ] || ((i++)) ;;
      *) words+=("${typed[i]}") ;;
    esac
  done
  COMPREPLY=()
  if [[ $prev == -* && -n ${takes[$prev]-} ]]; then
    case ${takes[$prev]} in
      PATH | FILE) mapfile -t COMPREPLY < <(compgen -f -- "$path") ;;
      HOW) mapfile -t COMPREPLY < <(compgen -W 'auto tree erofs' -- "$cur") ;;
    esac
    COMPREPLY=("${COMPREPLY[@]#"$broken"}")
    return
  fi

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
  done < <(tr '\t' '\001' <<<"$table")

  if [[ $cur == -* ]]; then
    [ -n "$found" ] || options='--socket --json --help --version'
    options=$(sed 's/=[A-Z]*//g' <<<"$options")
    mapfile -t COMPREPLY < <(compgen -W "$options" -- "$cur")
  elif [ -n "$found" ]; then
    case $kind in
      *IMAGE*)
        mapfile -t COMPREPLY < <(compgen -W "$(_shoal_images "${agent[@]}")" -- "$cur"
          [ "$kind" = IMAGE ] || compgen -f -- "$path")
        ;;
      DIR) mapfile -t COMPREPLY < <(compgen -d -- "$path") ;;
      PATH) mapfile -t COMPREPLY < <(compgen -f -- "$path") ;;
    esac
  elif [ -n "$seconds" ]; then
    mapfile -t COMPREPLY < <(compgen -W "$seconds" -- "$cur")
  elif [ ${#words[@]} = 0 ]; then
    mapfile -t COMPREPLY < <(compgen -W "$firsts" -- "$cur" | sort -u)
  fi
  COMPREPLY=("${COMPREPLY[@]#"$broken"}")
}
complete -o filenames -F _shoal shoal
