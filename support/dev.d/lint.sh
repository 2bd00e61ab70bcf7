# Formatting of .c files (headers are laid out by hand, as tables of declarations and their comments), line lengths, cppcheck,
# clang-tidy; what is switched off says why, here and in .clang-tidy.

lint_files() { git -C "$ROOT" ls-files -- "$@" | sed "s|^|$ROOT/|"; }

lint_format() {
    local files
    mapfile -t files < <(lint_files '*.c')
    if [ "${1:-}" = --fix ]; then
        clang-format -i "${files[@]}"
    else
        clang-format --dry-run -Werror "${files[@]}"
    fi
}

lint_lengths() {
    local files
    mapfile -t files < <(lint_files '*.c' '*.h')
    awk '
        { gsub(/\t/, "        ") }
        length($0) > 125 && !/^\/\* ---/ { printf "%s:%d: %d columns, 125 are allowed\n", FILENAME, FNR, length($0); bad = 1 }
        /[ \t]$/ { printf "%s:%d: blank at the end of the line\n", FILENAME, FNR; bad = 1 }
        END { exit bad }' "${files[@]}"
}

# unusedFunction, and structure members that seem unused: cppcheck sees one file at a time here, and the exported functions
# of a module have their callers in another. missingInclude: system headers are not its business. The ring macros of APR
# (APR_BRIGADE_*) compare and subtract pointers of different objects on purpose. varFuncNullUB: NULL is a pointer here, and
# APR's own variadic functions are ended by it. invalidFunctionArg: its model of mmap does not know fd -1 of MAP_ANONYMOUS.
# readdir and getpwnam are only called where there is one thread.
lint_cppcheck() {
    cppcheck --quiet --error-exitcode=1 --std=c11 -j"$(jobs_at_once)" --inline-suppr \
        --enable=warning,performance,portability \
        --suppress=missingInclude --suppress=missingIncludeSystem --suppress=unusedFunction \
        --suppress=varFuncNullUB --suppress=invalidFunctionArg --suppress=readdirCalled --suppress=getpwnamCalled \
        --suppress=unusedStructMember --suppress=comparePointers --suppress=subtractPointers \
        --library=posix -D__linux__ -DAPR_DECLARE_NONSTD= -I"$ROOT/mod_meterplex/include" -I"$ROOT/mod_meterplex/lib" \
        "$ROOT/mod_meterplex" "$ROOT/support" "$ROOT/t"
}

lint_tidy() {
    local flags files
    make_configure "$ROOT/build-check/lint.log"
    configure_in "$ROOT/build-check" "$ROOT/build-check/lint.log" --enable-werror
    # the generated headers must be there
    quietly "$ROOT/build-check/lint.log" make -C "$ROOT/build-check" -j"$(jobs_at_once)" all
    read -r -a flags < <(make -s -C "$ROOT/build-check" print-tidy-flags)
    mapfile -t files < <(lint_files 'mod_meterplex/*.c' 'support/*.c')
    printf '%s\0' "${files[@]}" | xargs -0 -n 8 -P "$(jobs_at_once)" sh -c '
        flags=$1; shift
        cd "$0" && clang-tidy --quiet --warnings-as-errors="*" "$@" -- $flags 2>/dev/null' "$ROOT/build-check" "${flags[*]}"
}

dev_lint() {
    local step bad=0
    # shellcheck disable=SC2086
    need_packages $PACKAGES_UP $PACKAGES_TESTS $PACKAGES_LINT
    mkdir -p "$ROOT/build-check"
    if [ "$opt_fix" = yes ]; then
        lint_format --fix
    fi
    for step in format lengths cppcheck tidy; do
        say "lint: $step"
        if ! (lint_$step); then
            warn "$step found something"
            bad=$((bad + 1))
        fi
    done
    [ $bad = 0 ] || die "lint: $bad of 4 steps found something"
    say "lint: clean"
}
