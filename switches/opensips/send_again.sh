#!/bin/sh
# Settles the calls whose end the gateway did not take: send_again.sh /var/log/opensips.log
# Safe to run twice: an end that was taken is not taken again. TOLLGATE_URL and TOLLGATE_TOKEN say where and as whom.
set -eu
sed -n 's/.*TOLLGATE-UNSETTLED //p' "$@" | while IFS= read -r end; do
  printf '%s ' "$end"
  printf '%s' "$end" | curl --silent --show-error --max-time 10 --retry 5 --output /dev/null --write-out '%{http_code}\n' \
    --header "Authorization: Bearer $TOLLGATE_TOKEN" --header 'Content-Type: application/json' --data-binary @- \
    "$TOLLGATE_URL/v1/calls/end"
done
