# bash completion for certagent
# Made by "node scripts/docs.ts" from the table of commands: change that, not this.

_certagent_specs() {
  local spec
  for spec in /etc/certagent.d/*.yaml; do
    [ -e "$spec" ] && spec=${spec##*/} && echo "${spec%.yaml}"
  done
}

_certagent() {
  local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD - 1]}
  if [ "$COMP_CWORD" -eq 1 ]; then
    COMPREPLY=($(compgen -W "run once check plan status renew apply bootstrap schema demo help version --help --version" -- "$word"))
    return
  fi
  case $before in
    --apply) COMPREPLY=($(compgen -W 'direct broker' -- "$word")) && return ;;
    --log) COMPREPLY=($(compgen -W 'auto text json' -- "$word")) && return ;;
    --config) COMPREPLY=($(compgen -f -- "$word")) && return ;;
    --specs) COMPREPLY=($(compgen -d -- "$word")) && return ;;
    --state) COMPREPLY=($(compgen -d -- "$word")) && return ;;
    --runtime) COMPREPLY=($(compgen -d -- "$word")) && return ;;
    --log-level) COMPREPLY=($(compgen -W 'debug info warning error' -- "$word")) && return ;;
    --ca-url) COMPREPLY=($(compgen -W '' -- "$word")) && return ;;
    --fingerprint) COMPREPLY=($(compgen -W '' -- "$word")) && return ;;
    --root) COMPREPLY=($(compgen -f -- "$word")) && return ;;
  esac
  case ${COMP_WORDS[1]} in
    run) COMPREPLY=($(compgen -W "--apply --log --config --specs --state --runtime --log-level --help" -- "$word")) ;;
    once) COMPREPLY=($(compgen -W "$(_certagent_specs) --apply --log --config --specs --state --runtime --log-level --help" -- "$word")) ;;
    check) COMPREPLY=($(compgen -f -W "--json --config --specs --state --runtime --log-level --help" -- "$word")) ;;
    plan) COMPREPLY=($(compgen -W "$(_certagent_specs) --json --config --specs --state --runtime --log-level --help" -- "$word")) ;;
    status) COMPREPLY=($(compgen -W "$(_certagent_specs) --json --watch --config --specs --state --runtime --log-level --help" -- "$word")) ;;
    renew) COMPREPLY=($(compgen -W "$(_certagent_specs) --all --json --config --specs --state --runtime --log-level --help" -- "$word")) ;;
    apply) COMPREPLY=($(compgen -W "$(_certagent_specs) --requests --recover --log --config --specs --state --runtime --log-level --help" -- "$word")) ;;
    bootstrap) COMPREPLY=($(compgen -W "--ca-url --fingerprint --root --install --config --specs --state --runtime --log-level --help" -- "$word")) ;;
    schema) COMPREPLY=($(compgen -W "host spec --config --specs --state --runtime --log-level --help" -- "$word")) ;;
    demo) COMPREPLY=($(compgen -W "--config --specs --state --runtime --log-level --help" -- "$word")) ;;
    help) COMPREPLY=($(compgen -W "run once check plan status renew apply bootstrap schema demo help version --config --specs --state --runtime --log-level --help" -- "$word")) ;;
    version) COMPREPLY=($(compgen -W "--config --specs --state --runtime --log-level --help" -- "$word")) ;;
  esac
}

complete -o filenames -o bashdefault -F _certagent certagent
