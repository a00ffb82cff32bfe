#!/bin/sh
# Adds receivers from environment variables to alertmanager.yml, and starts Alertmanager with it.
#
#   ALERT_WEBHOOK_URL               receives every alert, in the format of Alertmanager's webhook
#   ALERT_EMAIL_TO                  receives every alert by e-mail, from ALERT_EMAIL_FROM through
#                                   ALERT_SMTP_HOST (name:port), with ALERT_SMTP_USERNAME and
#                                   ALERT_SMTP_PASSWORD
#   HEARTBEAT_URL                   receives a POST every minute as long as alerts work
#
# Without a receiver it prints a warning and starts anyway: its web page still shows the alerts.
set -eu

folder=$(dirname "$0")
config=${ALERTMANAGER_CONFIG:-/tmp/alertmanager.yml}
webhook=${ALERT_WEBHOOK_URL:-} email=${ALERT_EMAIL_TO:-} heartbeat=${HEARTBEAT_URL:-}

say() { echo "start.sh: $*" >&2; }

# Quotes a value as a YAML string.
quoted() { printf "'%s'" "$(printf '%s' "$1" | sed "s/'/''/g")"; }

people() {
    echo "  - name: people"
    if [ -n "$webhook" ]; then
        echo "    webhook_configs: [{url: $(quoted "$webhook"), send_resolved: true}]"
    fi
    [ -n "$email" ] || return 0
    cat <<YAML
    email_configs:
      - to: $(quoted "$email")
        from: $(quoted "$ALERT_EMAIL_FROM")
        smarthost: $(quoted "$ALERT_SMTP_HOST")
        auth_username: $(quoted "${ALERT_SMTP_USERNAME:-}")
        auth_password: $(quoted "${ALERT_SMTP_PASSWORD:-}")
        send_resolved: true
YAML
}

heart() {
    echo "  - name: heartbeat"
    if [ -n "$heartbeat" ]; then
        echo "    webhook_configs: [{url: $(quoted "$heartbeat"), send_resolved: false}]"
    fi
}

if [ -n "$email" ] && { [ -z "${ALERT_EMAIL_FROM:-}" ] || [ -z "${ALERT_SMTP_HOST:-}" ]; }; then
    say "ALERT_EMAIL_TO needs ALERT_EMAIL_FROM and ALERT_SMTP_HOST (name:port)"
    exit 64
fi
if [ -z "$webhook" ] && [ -z "$email" ]; then
    say "alerts reach nobody: set ALERT_WEBHOOK_URL, or ALERT_EMAIL_TO with ALERT_EMAIL_FROM and ALERT_SMTP_HOST"
fi
if [ -z "$heartbeat" ]; then
    say "an outage of the alerts would go unnoticed: set HEARTBEAT_URL to the address of a dead man's switch"
fi

umask 077 # the file contains secrets: the addresses and the password
{
    cat "$folder/alertmanager.yml"
    echo "receivers:"
    people
    heart
} >"$config"

exec "${ALERTMANAGER:-/bin/alertmanager}" --config.file="$config" --cluster.listen-address= "$@"
