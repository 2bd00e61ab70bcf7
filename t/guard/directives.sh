# conf/meterplex.conf documents every directive, and none that does not exist.
. "$(dirname "$0")/guard.sh"

conf=$src/conf/meterplex.conf
known=$(c_files "$src/mod_meterplex" | xargs grep -hoE 'AP_INIT_[A-Z0-9_]+\([ \t]*"Meterplex[A-Za-z]+"' | grep -oE 'Meterplex[A-Za-z]+' | sort -u)
shown=$(grep -oE '^[# \t]*Meterplex[A-Za-z]+' "$conf" | grep -oE 'Meterplex[A-Z][A-Za-z]+' | sort -u)

for name in $known; do
    grep -qx "$name" <<<"$shown" || problem "$conf" "does not show $name"
done
for name in $shown; do
    grep -qx "$name" <<<"$known" || problem "$conf" "shows $name, which no module knows"
done

conclude "conf/meterplex.conf documents every directive"
