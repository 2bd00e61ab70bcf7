# Who includes what: a room sees lib/, include/ and itself; lib/ knows neither httpd nor SQL; the floors below http do not
# know httpd, so that meterplexctl can link them; libpq belongs to core's database wrapper.
. "$(dirname "$0")/guard.sh"

httpd_headers='^(httpd|http_[a-z]+|ap_[a-z]+|util_[a-z]+|mod_[a-z]+|mpm_common|scoreboard)\.h$'

# check_include FILE ROOM LINE HEADER
check_include() {
    local file=$1 room=$2 line=$3 header=$4 name=${4##*/}

    if [ "$name" = libpq-fe.h ]; then
        case $room/${file##*/} in
        core/core_db*) ;;
        *) problem "$file:$line" "includes libpq-fe.h; only core/core_db*.[ch] may" ;;
        esac
        return
    fi
    if grep -qE "$httpd_headers" <<<"$name" || [ "$name" = meterplex.h ]; then
        if [ "$room" = lib ]; then
            problem "$file:$line" "lib/ includes $name, which is httpd's"
        fi
        case ${file##*/} in
        *_domain.[ch] | *_commands.[ch] | *_queries.[ch] | *_store.[ch])
            problem "$file:$line" "a floor below http includes $name, which is httpd's" ;;
        esac
        return
    fi
    case $header in
    ../lib/* | ../include/* | lib/* | include/*) return ;;
    esac
    # what is left of our own headers must be the room's
    for other in $(rooms) lib; do
        if [ "$other" != "$room" ] && [ -e "$src/mod_meterplex/$other/$name" ] && [ ! -e "$src/mod_meterplex/$room/$name" ] \
            && [ "$other" != lib ]; then
            problem "$file:$line" "room $room includes $other/$name; what rooms ask of each other stands in include/"
        fi
        if [ "$other" != "$room" ] && [ "$name" = "${other}_sql.h" ]; then
            problem "$file:$line" "room $room includes the statements of $other"
        fi
    done
}

for room in $(rooms) lib include; do
    while IFS=: read -r file line header; do
        check_include "$file" "$room" "$line" "$header"
    done < <(c_files "$src/mod_meterplex/$room" | xargs -r grep -HnoE '^[ \t]*#[ \t]*include[ \t]*["<][^">]+' \
        | sed -E 's/:([0-9]+):[ \t]*#[ \t]*include[ \t]*["<]/:\1:/')
done
# no cycles: core asks nothing of any room; of the others only billing may ask usage
while IFS=: read -r file line header; do
    problem "$file:$line" "core includes $header: core knows no other room"
done < <(c_files "$src/mod_meterplex/core" | xargs -r grep -HnoE '"(\.\./include/)?meterplex_(identity|limit|usage|billing|events|gateway|observe)\.h"')

conclude "each room includes only lib/, include/ and itself"
