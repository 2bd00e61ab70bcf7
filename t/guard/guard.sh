# Sourced by the guards: a guard prints what is wrong and where as TAP comments, and one result, which is all that counts:
# its exit status is 0 either way.
set -u
src=${top_srcdir:-$(cd "$(dirname "$0")/../.." && pwd)}
build=${top_builddir:-$src/build}
problems=$(mktemp)
trap 'rm -f "$problems"' EXIT

# problem FILE[:LINE] MESSAGE
problem() { printf '# %s: %s\n' "${1#"$src"/}" "$2" >>"$problems"; }

# conclude DESCRIPTION
conclude() {
    echo 1..1
    if [ -s "$problems" ]; then
        cat "$problems"
        echo "not ok 1 - $1"
    else
        echo "ok 1 - $1"
    fi
}

rooms() { (cd "$src/mod_meterplex" && for room in */; do case $room in include/ | lib/) ;; *) echo "${room%/}" ;; esac; done); }
c_files() { find "$@" \( -name '*.c' -o -name '*.h' \) ! -name '*_sql.h' | sort; }
