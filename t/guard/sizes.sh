# House numbers: no function past 100 lines, no file past 800.
. "$(dirname "$0")/guard.sh"

while read -r file; do
    while read -r line message; do
        problem "$file:$line" "$message"
    done < <(awk '
        # a body begins with { in the first column, or at the end of a definition that begins there, and ends with } there
        /^[a-zA-Z].*\(/ && !/;[ \t]*$/ && !/=/ && !/^typedef/ { head = FNR }
        /^\{/ || (/^[a-zA-Z].*\).*\{[ \t]*$/) { if (head) begun = head }
        /^\}/ {
            if (begun && FNR - begun + 1 > 100)
                printf "%d a function of %d lines; 100 are allowed\n", begun, FNR - begun + 1
            begun = 0
            head = 0
        }
        END {
            if (FNR > 800)
                printf "%d a file of %d lines; 800 are allowed\n", FNR, FNR
        }' "$file")
done < <(c_files "$src/mod_meterplex" "$src/support" "$src/t")

conclude "functions have at most 100 lines, files at most 800"
