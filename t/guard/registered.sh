# A case that is written is run: each START_TEST is given to tcase_add_test or one of its kin, in its file.
. "$(dirname "$0")/guard.sh"

for file in $(grep -rlE '^START_TEST\(' "$src/t" --include='*.c' | sort); do
    while IFS=: read -r line name; do
        grep -qE "tcase_add_[a-z_]*test[a-z_]*\([^;]*\b$name\b" <(tr '\n' ' ' <"$file" | sed 's/;/;\n/g') \
            || problem "$file:$line" "START_TEST($name) is never added to a test case"
    done < <(grep -noE '^START_TEST\([a-z_0-9A-Z]+' "$file" | sed 's/START_TEST(//')
done

# and each program is in the Makefile
for file in "$src"/t/unit/test_*.c "$src"/t/api/test_*.c "$src"/t/fault/test_*.c "$src"/t/fuzz/fuzz_*.c "$src"/t/guard/*.sh; do
    [ -e "$file" ] || continue
    name=${file#"$src"/}
    case $name in
    t/guard/guard.sh) continue ;;
    *.c) name=${name%.c} ;;
    esac
    grep -qE "(^|[[:space:]])$name([[:space:]]|\$)" "$src"/t/*/local.mk || problem "$file" "no local.mk names it: it is never run"
done

conclude "every test is registered"
