# sql2h.awk: named SQL statements, as C constants.
#
#   awk -f sql2h.awk X.sql > X_sql.h
#
# A block begins with a line "-- name: some_name" and goes to the next such line; it becomes
# static const char SQL_some_name[]. Lines that begin with "--" are comments and are left out; every other line is
# statement text. A name given twice, an empty block and text before the first name are errors.

function fail(message)
{
    printf "%s:%d: %s\n", FILENAME, FNR, message > "/dev/stderr"
    failed = 1
    exit 1
}

function finish()
{
    if (name == "")
        return
    if (lines == 0) {
        printf "%s:%d: statement %s is empty\n", FILENAME, begun, name > "/dev/stderr"
        failed = 1
        exit 1
    }
    printf ";\n"
}

BEGIN {
    name = ""
    printf "/* made by sql2h.awk; the statements stand in the .sql file of the same name */\n"
}

/^--[ \t]*name:/ {
    finish()
    name = $0
    sub(/^--[ \t]*name:[ \t]*/, "", name)
    sub(/[ \t\r]+$/, "", name)
    if (name !~ /^[a-z][a-z0-9_]*$/)
        fail("'" name "' is no name for a statement: lower-case letters, digits and _")
    if (name in seen)
        fail("statement " name " is there twice, first in line " seen[name])
    seen[name] = FNR
    begun = FNR
    lines = 0
    printf "\nstatic const char SQL_%s[] __attribute__((unused)) =", name
    next
}

/^[ \t]*--/ { next }
/^[ \t\r]*$/ { next }

{
    if (name == "")
        fail("statement text before the first '-- name:' line")
    sub(/[ \t\r]+$/, "")
    gsub(/\\/, "&&")
    gsub(/"/, "\\\"")
    gsub(/\?/, "\\?")
    printf "\n    \"%s\\n\"", $0
    lines++
}

END {
    if (failed)
        exit 1
    finish()
}
