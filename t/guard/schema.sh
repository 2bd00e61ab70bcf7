# The code needs the last migration there is: MPX_SCHEMA_VERSION is its number.
. "$(dirname "$0")/guard.sh"

last=$(basename "$(find "$src/migrations" -name '[0-9]*.sql' | sort | tail -n 1)")
version=$(sed -n 's/^#define MPX_SCHEMA_VERSION \([0-9]*\).*/\1/p' "$src/mod_meterplex/include/meterplex_call.h")
[ "$version" = "$((10#${last%%_*}))" ] \
    || problem mod_meterplex/include/meterplex_call.h "MPX_SCHEMA_VERSION is \"$version\"; the last migration is $last"

conclude "the version of the schema is the last migration's"
