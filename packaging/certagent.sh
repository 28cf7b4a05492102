#!/bin/sh
# Starts certagent on the Node that comes with it, whatever the environment wants of Node.
unset NODE_OPTIONS NODE_PATH NODE_EXTRA_CA_CERTS
flags="--optimize-for-size --max-semi-space-size=1 --max-old-space-size=48"
# The daemon listens for SIGUSR1 itself; for all others it must not open the inspector.
[ "$1" = run ] || flags="$flags --disable-sigusr1"
# shellcheck disable=SC2086 # words
exec /usr/lib/certagent/node $flags /usr/lib/certagent/certagent.mjs "$@"
