#!/bin/sh
# Starts certagent on the Node that comes with it, whatever the environment wants of Node.
unset NODE_OPTIONS NODE_PATH NODE_EXTRA_CA_CERTS
flags="--max-semi-space-size=1 --max-old-space-size=128"
if [ "$1" = run ]; then
  # The daemon collects its garbage itself when its work has ended.
  flags="$flags --no-memory-reducer"
else
  # The daemon listens for SIGUSR1 itself; for all others it must not open the inspector.
  flags="$flags --disable-sigusr1"
fi
# shellcheck disable=SC2086 # words
exec /usr/lib/certagent/node $flags /usr/lib/certagent/certagent.mjs "$@"
