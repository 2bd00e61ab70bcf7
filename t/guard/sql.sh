# SQL stands in .sql files, and a room's file names its own schema only (core's own: core, events, audit).
# Control of a connection or transaction (BEGIN, SET, set_config, the ping SELECT 1) is the database wrapper's and stands in C.
. "$(dirname "$0")/guard.sh"

while IFS=: read -r file line text; do
    problem "$file:$line" "a statement in C: $text"
done < <(c_files "$src/mod_meterplex" "$src/support" \
    | xargs -r grep -HnoE '"[ \t]*(SELECT|INSERT INTO|UPDATE|DELETE FROM|WITH|CREATE|ALTER|DROP|GRANT|COPY|TRUNCATE) [^"]*' \
    | grep -vE '"(SELECT 1|SELECT set_config\(.*)$' | cut -c1-160)

for room in $(rooms); do
    case $room in
    core) allowed='core|events|audit' ;;
    *) allowed="core|$room" ;;
    esac
    for file in "$src/mod_meterplex/$room"/*.sql; do
        [ -e "$file" ] || continue
        while IFS=: read -r line schema; do
            problem "$file:$line" "room $room names the schema of another: $schema"
        done < <(sed 's/--.*//' "$file" \
            | grep -noE '\b(core|identity|limit|usage|billing|events|audit|gateway)\.[a-z_]+' \
            | grep -vE "^[0-9]+:($allowed)\.")
        # what of core's schema is more than a helper function is core's own
        if [ "$room" != core ]; then
            while IFS=: read -r line name; do
                problem "$file:$line" "room $room touches a table of core: $name"
            done < <(sed 's/--.*//' "$file" | grep -noE '(FROM|INTO|UPDATE|JOIN) +core\.[a-z_]+([^a-z_(]|$)')
        fi
    done
done

conclude "SQL stands in .sql files, each in its own schema"
