#!/usr/bin/env bash
# Installs Debian's programs that tests run: `tools/install_debian.sh base switches`. Running it again does no harm.
#   base      what make test-all and make lint need
#   bench     clients that are not ours, which the benchmark leaves out where they are missing
#   python    Debian's own Python, and what it makes environments with
#   page      the browser that tests of pages drive, and a font for it (make test-all, make screenshots)
#   switches  the real switches and what drives them (make switches)
set -euo pipefail

# command -> package; several commands may be of one package
declare -A base=(
  [make]=make
  [luacheck]=lua-check
  [redis-server]=redis-server
  [pg_ctlcluster]=postgresql
  [prometheus]=prometheus
  [faketime]=faketime
  [ip]=iproute2
)
declare -A bench=([h2load]=nghttp2-client [redis-benchmark]=redis-tools)
declare -A page=([chromium-headless-shell]="chromium-headless-shell fonts-dejavu-core")
declare -A switches=(
  [kamailio]="kamailio kamailio-json-modules kamailio-extra-modules kamailio-utils-modules kamailio-cnxcc-modules kamailio-ims-modules"
  [sipp]=sip-tester
  [bearerbox]=kannel
  [/usr/lib/kannel/test/fakesmsc]=kannel-extras
  [rabbitmq-server]=rabbitmq-server
)

export DEBIAN_FRONTEND=noninteractive

as_root() {
  if [ "$(id -u)" -eq 0 ]; then "$@"; else sudo --preserve-env=DEBIAN_FRONTEND "$@"; fi
}

missing=()
for group in "$@"; do
  if [ "$group" = python ]; then
    # A module, not a command.
    /usr/bin/python3 -c 'import ensurepip' 2> /dev/null || missing+=(python3 python3-venv)
    continue
  fi
  declare -n packages="$group"
  for command in "${!packages[@]}"; do
    # shellcheck disable=SC2206  # several packages in one word
    command -v "$command" > /dev/null || missing+=(${packages[$command]})
  done
done
if [ "${#missing[@]}" -gt 0 ]; then
  as_root apt-get update --quiet --quiet
  # RUNLEVEL=1: the packages do not start their servers; the tests start their own.
  as_root env RUNLEVEL=1 apt-get install --yes --quiet --quiet --no-install-recommends "${missing[@]}"
fi
