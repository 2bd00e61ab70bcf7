# conf/meterplex.conf documents every directive; no file in conf/ has one that does not exist.
. "$(dirname "$0")/guard.sh"

conf=$src/conf/meterplex.conf
named() { grep -hoE '^[# \t]*Meterplex[A-Za-z]+' "$@" | grep -oE 'Meterplex[A-Z][A-Za-z]+' | sort -u; }
known=$(c_files "$src/mod_meterplex" | xargs grep -hoE 'AP_INIT_[A-Z0-9_]+\([ \t]*"Meterplex[A-Za-z]+"' | grep -oE 'Meterplex[A-Za-z]+' | sort -u)
shown=$(named "$conf")

for name in $known; do
    grep -qx "$name" <<<"$shown" || problem "$conf" "does not show $name"
done
for file in "$conf" "$src"/conf/extra/*.conf "$src"/conf/*.conf.in; do
    for name in $(named "$file"); do
        grep -qx "$name" <<<"$known" || problem "$file" "shows $name, which no module knows"
    done
done

conclude "conf/meterplex.conf documents every directive, and conf/ none that is not there"
