# Debian packages: what is missing is installed by root or sudo, else named in one line to paste.

# never the package apache2: it starts a server of its own; apache2-bin is the program
PACKAGES_UP="apache2-bin apache2-dev libaprutil1-dbd-pgsql postgresql-15 libpq-dev libsodium-dev gcc make autoconf automake
    libtool pkg-config curl"
PACKAGES_TESTS="check libcurl4-openssl-dev libjansson-dev clang pgbouncer prometheus"
PACKAGES_LINT="clang-format clang-tidy cppcheck"
PACKAGES_BENCH="wrk"
# what of these brings a service: tests start their own, and the machine's next boot is not to start it
PACKAGES_SERVICES=" pgbouncer prometheus "

missing_packages() {
    local package
    for package in "$@"; do
        # shellcheck disable=SC2016
        if [ "$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null)" != installed ]; then
            printf ' %s' "$package"
        fi
    done
}

# While packages are installed no service is started (policy-rc.d) and no cluster is made (createcluster.conf); both files
# are put back as they were, or as the packages would have left them, whatever happens in between.
hold_services() {
    held=$(mktemp -d)
    if [ ! -e /usr/sbin/policy-rc.d ]; then
        printf '#!/bin/sh\nexit 101\n' >"$held/policy"
        install -m 755 "$held/policy" /usr/sbin/policy-rc.d
        touch "$held/remove-policy"
    fi
    if [ "$(dpkg-query -W -f '${db:Status-Status}' postgresql-common 2>/dev/null)" != installed ] \
        || [ -z "$(ls -d /usr/lib/postgresql/15/bin/initdb 2>/dev/null)" ]; then
        mkdir -p /etc/postgresql-common
        [ ! -e /etc/postgresql-common/createcluster.conf ] \
            || cp -p /etc/postgresql-common/createcluster.conf "$held/createcluster.conf"
        echo 'create_main_cluster = false' >/etc/postgresql-common/createcluster.conf
        touch "$held/restore-cluster"
    fi
}

release_services() {
    [ ! -e "$held/remove-policy" ] || rm -f /usr/sbin/policy-rc.d
    if [ -e "$held/restore-cluster" ]; then
        if [ -e "$held/createcluster.conf" ]; then
            cp -p "$held/createcluster.conf" /etc/postgresql-common/createcluster.conf
        elif [ -e /usr/share/postgresql-common/createcluster.conf ]; then
            cp /usr/share/postgresql-common/createcluster.conf /etc/postgresql-common/createcluster.conf
        else
            rm -f /etc/postgresql-common/createcluster.conf
        fi
    fi
    rm -rf "$held"
}

# Whether the package lists are of the last day: with older ones, security packages would come in versions that are
# known to be bad. apt gives the lists their mirror's times; partial/ is changed by every update.
lists_are_fresh() {
    ls /var/lib/apt/lists/*_Packages* >/dev/null 2>&1 \
        && [ -n "$(find /var/lib/apt/lists/partial -maxdepth 0 -mmin -1440 2>/dev/null)" ]
}

install_now() (
    export DEBIAN_FRONTEND=noninteractive
    log=$(mktemp)
    hold_services
    trap 'status=$?; release_services; [ $status != 0 ] || rm -f "$log"' EXIT
    trap 'exit 130' INT TERM
    lists_are_fresh || quietly "$log" apt-get update
    # a list that is older than its mirror names files that are gone: once more with a new one
    if ! apt-get install -y --no-install-recommends "$@" >>"$log" 2>&1 </dev/null; then
        quietly "$log" apt-get update
        quietly "$log" apt-get install -y --no-install-recommends "$@"
    fi
    for package in "$@"; do
        case $PACKAGES_SERVICES in
        *" $package "*)
            ! command -v deb-systemd-helper >/dev/null || deb-systemd-helper disable "$package.service" || true
            ! command -v update-rc.d >/dev/null || update-rc.d "$package" disable || true
            ;;
        esac
    done >>"$log" 2>&1
)

# need_packages PACKAGE...
need_packages() {
    local missing
    if ! command -v dpkg-query >/dev/null; then
        note "this is not Debian: the packages are taken as given"
        return 0
    fi
    missing=$(missing_packages "$@")
    [ -n "$missing" ] || return 0
    if is_root; then
        say "packages: installing$missing"
        # shellcheck disable=SC2086
        install_now $missing
    elif command -v sudo >/dev/null && sudo -n true 2>/dev/null; then
        say "packages: installing$missing"
        sudo -n bash -c '. "$1"/support/dev.d/common.sh; . "$1"/support/dev.d/packages.sh; shift; install_now "$@"' \
            dev "$ROOT" $missing
    else
        die "packages are missing and neither root nor sudo is at hand. As root:
    apt-get update && apt-get install -y --no-install-recommends$missing"
    fi
}
