# fish completion for certagent
# Made by "node scripts/docs.ts" from the table of commands: change that, not this.

function __certagent_specs
    for spec in /etc/certagent.d/*.yaml
        string replace -r '.*/(.*)\.yaml$' '$1' $spec
    end
end

complete -c certagent -f
complete -c certagent -n __fish_use_subcommand -f -a run -d 'the daemon, in the foreground'
complete -c certagent -n '__fish_seen_subcommand_from run' -l apply -d 'who writes outputs and reloads services: this process, or certagent-apply.service' -x -a 'direct broker'
complete -c certagent -n '__fish_seen_subcommand_from run' -l log -d 'how events are told: auto is coloured text on a terminal, else lines with a priority for journald' -x -a 'auto text json'
complete -c certagent -n '__fish_seen_subcommand_from run' -l config -d 'host configuration' -r -F
complete -c certagent -n '__fish_seen_subcommand_from run' -l specs -d 'folder of the specs, a *.yaml each' -r -F
complete -c certagent -n '__fish_seen_subcommand_from run' -l state -d 'what survives a restart: keys, facts' -r -F
complete -c certagent -n '__fish_seen_subcommand_from run' -l runtime -d 'what does not: the agent'\''s socket' -r -F
complete -c certagent -n '__fish_seen_subcommand_from run' -l log-level -d 'what is told; debug shows the causes of errors' -x -a 'debug info warning error'
complete -c certagent -n '__fish_seen_subcommand_from run' -l help -d 'explain the command'
complete -c certagent -n __fish_use_subcommand -f -a once -d 'brings everything up to date once and exits (cloud-init, images, cron)'
complete -c certagent -n '__fish_seen_subcommand_from once' -f -a '(__certagent_specs)'
complete -c certagent -n '__fish_seen_subcommand_from once' -l apply -d 'who writes outputs and reloads services: this process, or certagent-apply.service' -x -a 'direct broker'
complete -c certagent -n '__fish_seen_subcommand_from once' -l log -d 'how events are told: auto is coloured text on a terminal, else lines with a priority for journald' -x -a 'auto text json'
complete -c certagent -n '__fish_seen_subcommand_from once' -l config -d 'host configuration' -r -F
complete -c certagent -n '__fish_seen_subcommand_from once' -l specs -d 'folder of the specs, a *.yaml each' -r -F
complete -c certagent -n '__fish_seen_subcommand_from once' -l state -d 'what survives a restart: keys, facts' -r -F
complete -c certagent -n '__fish_seen_subcommand_from once' -l runtime -d 'what does not: the agent'\''s socket' -r -F
complete -c certagent -n '__fish_seen_subcommand_from once' -l log-level -d 'what is told; debug shows the causes of errors' -x -a 'debug info warning error'
complete -c certagent -n '__fish_seen_subcommand_from once' -l help -d 'explain the command'
complete -c certagent -n __fish_use_subcommand -f -a check -d 'validates host configuration and specs, without a daemon'
complete -c certagent -n '__fish_seen_subcommand_from check' -F
complete -c certagent -n '__fish_seen_subcommand_from check' -l json -d 'problems as a document'
complete -c certagent -n '__fish_seen_subcommand_from check' -l config -d 'host configuration' -r -F
complete -c certagent -n '__fish_seen_subcommand_from check' -l specs -d 'folder of the specs, a *.yaml each' -r -F
complete -c certagent -n '__fish_seen_subcommand_from check' -l state -d 'what survives a restart: keys, facts' -r -F
complete -c certagent -n '__fish_seen_subcommand_from check' -l runtime -d 'what does not: the agent'\''s socket' -r -F
complete -c certagent -n '__fish_seen_subcommand_from check' -l log-level -d 'what is told; debug shows the causes of errors' -x -a 'debug info warning error'
complete -c certagent -n '__fish_seen_subcommand_from check' -l help -d 'explain the command'
complete -c certagent -n __fish_use_subcommand -f -a plan -d 'what would be done now, why, and when next; changes nothing'
complete -c certagent -n '__fish_seen_subcommand_from plan' -f -a '(__certagent_specs)'
complete -c certagent -n '__fish_seen_subcommand_from plan' -l json -d 'the whole document, with times in RFC 3339'
complete -c certagent -n '__fish_seen_subcommand_from plan' -l config -d 'host configuration' -r -F
complete -c certagent -n '__fish_seen_subcommand_from plan' -l specs -d 'folder of the specs, a *.yaml each' -r -F
complete -c certagent -n '__fish_seen_subcommand_from plan' -l state -d 'what survives a restart: keys, facts' -r -F
complete -c certagent -n '__fish_seen_subcommand_from plan' -l runtime -d 'what does not: the agent'\''s socket' -r -F
complete -c certagent -n '__fish_seen_subcommand_from plan' -l log-level -d 'what is told; debug shows the causes of errors' -x -a 'debug info warning error'
complete -c certagent -n '__fish_seen_subcommand_from plan' -l help -d 'explain the command'
complete -c certagent -n __fish_use_subcommand -f -a status -d 'one line a certificate: state, proven or not, expiry, next action, last failure'
complete -c certagent -n '__fish_seen_subcommand_from status' -f -a '(__certagent_specs)'
complete -c certagent -n '__fish_seen_subcommand_from status' -l json -d 'the whole document, with times in RFC 3339'
complete -c certagent -n '__fish_seen_subcommand_from status' -l watch -d 'show it again when it changes; on a terminal in place'
complete -c certagent -n '__fish_seen_subcommand_from status' -l config -d 'host configuration' -r -F
complete -c certagent -n '__fish_seen_subcommand_from status' -l specs -d 'folder of the specs, a *.yaml each' -r -F
complete -c certagent -n '__fish_seen_subcommand_from status' -l state -d 'what survives a restart: keys, facts' -r -F
complete -c certagent -n '__fish_seen_subcommand_from status' -l runtime -d 'what does not: the agent'\''s socket' -r -F
complete -c certagent -n '__fish_seen_subcommand_from status' -l log-level -d 'what is told; debug shows the causes of errors' -x -a 'debug info warning error'
complete -c certagent -n '__fish_seen_subcommand_from status' -l help -d 'explain the command'
complete -c certagent -n __fish_use_subcommand -f -a renew -d 'renews now through the running daemon and waits for the outcome'
complete -c certagent -n '__fish_seen_subcommand_from renew' -f -a '(__certagent_specs)'
complete -c certagent -n '__fish_seen_subcommand_from renew' -l all -d 'every certificate of this host'
complete -c certagent -n '__fish_seen_subcommand_from renew' -l json -d 'the outcomes as a document'
complete -c certagent -n '__fish_seen_subcommand_from renew' -l config -d 'host configuration' -r -F
complete -c certagent -n '__fish_seen_subcommand_from renew' -l specs -d 'folder of the specs, a *.yaml each' -r -F
complete -c certagent -n '__fish_seen_subcommand_from renew' -l state -d 'what survives a restart: keys, facts' -r -F
complete -c certagent -n '__fish_seen_subcommand_from renew' -l runtime -d 'what does not: the agent'\''s socket' -r -F
complete -c certagent -n '__fish_seen_subcommand_from renew' -l log-level -d 'what is told; debug shows the causes of errors' -x -a 'debug info warning error'
complete -c certagent -n '__fish_seen_subcommand_from renew' -l help -d 'explain the command'
complete -c certagent -n __fish_use_subcommand -f -a apply -d 'makes outputs and services true for what the agent has issued (the root side)'
complete -c certagent -n '__fish_seen_subcommand_from apply' -f -a '(__certagent_specs)'
complete -c certagent -n '__fish_seen_subcommand_from apply' -l requests -d 'serve what the agent asks, until it asks no more (certagent-apply.service)'
complete -c certagent -n '__fish_seen_subcommand_from apply' -l recover -d 'finish what a power cut left, and tell no service (certagent-recover.service)'
complete -c certagent -n '__fish_seen_subcommand_from apply' -l log -d 'how events are told: auto is coloured text on a terminal, else lines with a priority for journald' -x -a 'auto text json'
complete -c certagent -n '__fish_seen_subcommand_from apply' -l config -d 'host configuration' -r -F
complete -c certagent -n '__fish_seen_subcommand_from apply' -l specs -d 'folder of the specs, a *.yaml each' -r -F
complete -c certagent -n '__fish_seen_subcommand_from apply' -l state -d 'what survives a restart: keys, facts' -r -F
complete -c certagent -n '__fish_seen_subcommand_from apply' -l runtime -d 'what does not: the agent'\''s socket' -r -F
complete -c certagent -n '__fish_seen_subcommand_from apply' -l log-level -d 'what is told; debug shows the causes of errors' -x -a 'debug info warning error'
complete -c certagent -n '__fish_seen_subcommand_from apply' -l help -d 'explain the command'
complete -c certagent -n __fish_use_subcommand -f -a bootstrap -d 'fetches the CA'\''s root, believes it by its fingerprint alone, and keeps it'
complete -c certagent -n '__fish_seen_subcommand_from bootstrap' -l ca-url -d 'where the CA listens: https://HOST:PORT' -x
complete -c certagent -n '__fish_seen_subcommand_from bootstrap' -l fingerprint -d 'of the root, with or without colons: step certificate fingerprint root_ca.crt' -x
complete -c certagent -n '__fish_seen_subcommand_from bootstrap' -l root -d 'where the root is kept' -r -F
complete -c certagent -n '__fish_seen_subcommand_from bootstrap' -l install -d 'put it into the system'\''s trust store as well, for other programs'
complete -c certagent -n '__fish_seen_subcommand_from bootstrap' -l config -d 'host configuration' -r -F
complete -c certagent -n '__fish_seen_subcommand_from bootstrap' -l specs -d 'folder of the specs, a *.yaml each' -r -F
complete -c certagent -n '__fish_seen_subcommand_from bootstrap' -l state -d 'what survives a restart: keys, facts' -r -F
complete -c certagent -n '__fish_seen_subcommand_from bootstrap' -l runtime -d 'what does not: the agent'\''s socket' -r -F
complete -c certagent -n '__fish_seen_subcommand_from bootstrap' -l log-level -d 'what is told; debug shows the causes of errors' -x -a 'debug info warning error'
complete -c certagent -n '__fish_seen_subcommand_from bootstrap' -l help -d 'explain the command'
complete -c certagent -n __fish_use_subcommand -f -a schema -d 'JSON Schema of the host configuration or of specs, for editors'
complete -c certagent -n '__fish_seen_subcommand_from schema' -f -a 'host'
complete -c certagent -n '__fish_seen_subcommand_from schema' -f -a 'spec'
complete -c certagent -n '__fish_seen_subcommand_from schema' -l config -d 'host configuration' -r -F
complete -c certagent -n '__fish_seen_subcommand_from schema' -l specs -d 'folder of the specs, a *.yaml each' -r -F
complete -c certagent -n '__fish_seen_subcommand_from schema' -l state -d 'what survives a restart: keys, facts' -r -F
complete -c certagent -n '__fish_seen_subcommand_from schema' -l runtime -d 'what does not: the agent'\''s socket' -r -F
complete -c certagent -n '__fish_seen_subcommand_from schema' -l log-level -d 'what is told; debug shows the causes of errors' -x -a 'debug info warning error'
complete -c certagent -n '__fish_seen_subcommand_from schema' -l help -d 'explain the command'
complete -c certagent -n __fish_use_subcommand -f -a demo -d 'the whole life of a certificate in one terminal, under a minute; no root needed'
complete -c certagent -n '__fish_seen_subcommand_from demo' -l config -d 'host configuration' -r -F
complete -c certagent -n '__fish_seen_subcommand_from demo' -l specs -d 'folder of the specs, a *.yaml each' -r -F
complete -c certagent -n '__fish_seen_subcommand_from demo' -l state -d 'what survives a restart: keys, facts' -r -F
complete -c certagent -n '__fish_seen_subcommand_from demo' -l runtime -d 'what does not: the agent'\''s socket' -r -F
complete -c certagent -n '__fish_seen_subcommand_from demo' -l log-level -d 'what is told; debug shows the causes of errors' -x -a 'debug info warning error'
complete -c certagent -n '__fish_seen_subcommand_from demo' -l help -d 'explain the command'
complete -c certagent -n __fish_use_subcommand -f -a help -d 'explains certagent or one of its commands'
complete -c certagent -n '__fish_seen_subcommand_from help' -f -a 'run'
complete -c certagent -n '__fish_seen_subcommand_from help' -f -a 'once'
complete -c certagent -n '__fish_seen_subcommand_from help' -f -a 'check'
complete -c certagent -n '__fish_seen_subcommand_from help' -f -a 'plan'
complete -c certagent -n '__fish_seen_subcommand_from help' -f -a 'status'
complete -c certagent -n '__fish_seen_subcommand_from help' -f -a 'renew'
complete -c certagent -n '__fish_seen_subcommand_from help' -f -a 'apply'
complete -c certagent -n '__fish_seen_subcommand_from help' -f -a 'bootstrap'
complete -c certagent -n '__fish_seen_subcommand_from help' -f -a 'schema'
complete -c certagent -n '__fish_seen_subcommand_from help' -f -a 'demo'
complete -c certagent -n '__fish_seen_subcommand_from help' -f -a 'help'
complete -c certagent -n '__fish_seen_subcommand_from help' -f -a 'version'
complete -c certagent -n '__fish_seen_subcommand_from help' -l config -d 'host configuration' -r -F
complete -c certagent -n '__fish_seen_subcommand_from help' -l specs -d 'folder of the specs, a *.yaml each' -r -F
complete -c certagent -n '__fish_seen_subcommand_from help' -l state -d 'what survives a restart: keys, facts' -r -F
complete -c certagent -n '__fish_seen_subcommand_from help' -l runtime -d 'what does not: the agent'\''s socket' -r -F
complete -c certagent -n '__fish_seen_subcommand_from help' -l log-level -d 'what is told; debug shows the causes of errors' -x -a 'debug info warning error'
complete -c certagent -n '__fish_seen_subcommand_from help' -l help -d 'explain the command'
complete -c certagent -n __fish_use_subcommand -f -a version -d 'which version this is'
complete -c certagent -n '__fish_seen_subcommand_from version' -l config -d 'host configuration' -r -F
complete -c certagent -n '__fish_seen_subcommand_from version' -l specs -d 'folder of the specs, a *.yaml each' -r -F
complete -c certagent -n '__fish_seen_subcommand_from version' -l state -d 'what survives a restart: keys, facts' -r -F
complete -c certagent -n '__fish_seen_subcommand_from version' -l runtime -d 'what does not: the agent'\''s socket' -r -F
complete -c certagent -n '__fish_seen_subcommand_from version' -l log-level -d 'what is told; debug shows the causes of errors' -x -a 'debug info warning error'
complete -c certagent -n '__fish_seen_subcommand_from version' -l help -d 'explain the command'
