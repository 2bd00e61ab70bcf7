# What the shared objects export: a room its module record and nothing else; core its record and exactly what include/
# declares with MPX_DECLARE; and nothing that a room asks for is missing from core.
. "$(dirname "$0")/guard.sh"

defined() { nm -D --defined-only "$1" | awk '$2 ~ /^[A-Z]$/ && $2 != "A" { print $3 }' | sort; }
asked() { nm -D --undefined-only "$1" | awk '{ print $2 }' | sed 's/@.*//' | grep -E '^(mpx|core|meterplex)_' | sort; }

core=$build/.libs/mod_meterplex.so
if [ ! -e "$core" ]; then
    echo "1..0 # SKIP $core is not built"
    exit 0
fi

declared=$(mktemp)
grep -hv '^#define' "$src"/mod_meterplex/include/*.h | tr '\n' ' ' | grep -oE 'MPX_DECLARE\([^)]*\) *[a-z_0-9]+\(' \
    | sed -E 's/.*[) ]([a-z_0-9]+)\($/\1/' | sort -u >"$declared"
while read -r symbol; do
    [ "$symbol" = meterplex_module ] || problem "$core" "exports $symbol, which no header in include/ declares"
done < <(defined "$core" | comm -23 - "$declared")
while read -r symbol; do
    problem "$core" "does not export $symbol, which include/ declares"
done < <(defined "$core" | comm -13 - "$declared")
while read -r symbol; do
    problem "$core" "asks for $symbol, which nothing defines"
done < <(asked "$core")
rm -f "$declared"

for room in $(rooms); do
    object=$build/.libs/mod_meterplex_$room.so
    [ -e "$object" ] || continue
    while read -r symbol; do
        [ "$symbol" = "meterplex_${room}_module" ] || problem "$object" "exports $symbol"
    done < <(defined "$object")
    defined "$object" | grep -qx "meterplex_${room}_module" || problem "$object" "does not export meterplex_${room}_module"
    while read -r symbol; do
        problem "$object" "asks for $symbol, which core does not export"
    done < <(asked "$object" | comm -23 - <(defined "$core"))
done

conclude "each shared object exports what it should"
