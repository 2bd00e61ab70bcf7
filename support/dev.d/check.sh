# Tests: what ./dev check runs and how it counts.

PASSED=0
FAILED=0
SKIPPED=0
CHILD=

# Of what runs now: where its programs are, and the log in which it tells of single cases, if it does.
CHILD_DIR=
CHILD_LOG=

child_programs() {
    find /proc/[0-9]*/exe -maxdepth 0 -lname "$CHILD_DIR/*" 2>/dev/null | grep -oE '[0-9]+' | tr '\n' ' '
}
child_has_ended() { [ -z "$(child_programs)" ]; }

# What is running goes with us. A test program leaves a watcher behind, which is the same program in a session of its
# own and ends the servers: what is waited for is the last of them.
stop_child() {
    [ -n "$CHILD" ] || return 0
    kill -TERM -- "-$CHILD" 2>/dev/null || true
    wait "$CHILD" 2>/dev/null || true
    CHILD=
    wait_for 40 child_has_ended || warn "still there after 40 s: processes $(child_programs)"
}

# Cases that were told of until now; what the end of the programs makes fail is none of them.
count_until_now() {
    local told
    [ -n "$CHILD" ] && [ -n "$CHILD_LOG" ] || return 0
    told=$(grep -aoE '^(ok|not ok|PASS:|XFAIL:|FAIL:|ERROR:|XPASS:) ' "$CHILD_LOG" || true)
    PASSED=$((PASSED + $(grep -cE '^(ok|PASS:|XFAIL:)' <<<"$told" || true)))
    FAILED=$((FAILED + $(grep -cE '^(not ok|FAIL:|ERROR:|XPASS:)' <<<"$told" || true)))
}

on_interrupt() {
    trap - INT TERM EXIT
    count_until_now
    say "interrupted: ending what runs"
    stop_child
    printf '%d passed, %d failed (interrupted)\n' "$PASSED" "$FAILED"
    exit 130
}

# run_group DIR LOG COMMAND...: in a process group of its own, waited for. Cases are told of in CHILD_LOG, which a
# caller sets.
run_group() {
    local log=$2 status=0
    CHILD_DIR=$1
    shift 2
    set -m
    "$@" >>"$log" 2>&1 </dev/null 9>&- &
    CHILD=$!
    set +m
    wait "$CHILD" || status=$?
    CHILD=
    CHILD_LOG=
    return $status
}

# count NAME DIR STATUS LOG: adds up the test cases that the .trs files tell of.
count_results() {
    local name=$1 dir=$2 status=$3 log=$4 results passed failed skipped
    results=$(find "$dir/t" -name '*.trs' -newer "$dir/.check-begin" -exec grep -h '^:test-result:' {} + 2>/dev/null || true)
    passed=$(grep -cE 'result: (PASS|XFAIL)' <<<"$results" || true)
    failed=$(grep -cE 'result: (FAIL|ERROR|XPASS)' <<<"$results" || true)
    skipped=$(grep -cE 'result: SKIP' <<<"$results" || true)
    if [ "$failed" -gt 0 ]; then
        grep -aE '^(FAIL|ERROR|XPASS):' "$log" | sort -u >&2 || true
        note "the logs of what failed: $(find "$dir/t" -name '*.trs' -newer "$dir/.check-begin" \
            -exec grep -lE '^:test-result: (FAIL|ERROR|XPASS)' {} + | sed 's/\.trs$/.log/' | tr '\n' ' ')" >&2
        show_failed_logs "$dir"
    elif [ "$status" != 0 ]; then
        # no test says so, yet make failed: it did not build
        grep -aE 'error:|\*\*\*|undefined' "$log" | head -n 20 >&2 || tail -n 20 "$log" >&2
        failed=1
    fi
    say "$name: $passed passed, $failed failed, $skipped skipped"
    PASSED=$((PASSED + passed))
    FAILED=$((FAILED + failed))
    SKIPPED=$((SKIPPED + skipped))
}

show_failed_logs() {
    local trs
    find "$1/t" -name '*.trs' -newer "$1/.check-begin" -exec grep -lE '^:test-result: (FAIL|ERROR|XPASS)' {} + \
        | while read -r trs; do
            printf -- '--- %s\n' "${trs%.trs}.log"
            grep -avE '^(ok|PASS:)' "${trs%.trs}.log" | tail -n 60
        done >&2
}

# one yes/no step counts as one case
count_step() {
    local name=$1 status=$2 log=$3
    if [ "$status" = 0 ]; then
        PASSED=$((PASSED + 1))
        say "$name: passed"
    else
        FAILED=$((FAILED + 1))
        grep -aE 'error:|ERROR:|FAIL:|\*\*\*' "$log" | head -n 20 >&2 || tail -n 20 "$log" >&2
        say "$name: failed (all of it in $log)"
    fi
}

# check_in NAME DIR TESTS OPTION...
check_in() {
    local name=$1 dir=$2 tests=$3 log status=0
    shift 3
    log=$dir/check.log
    mkdir -p "$dir"
    : >"$log"
    make_configure "$log"
    configure_in "$dir" "$log" "$@"
    say "$name: building and running"
    touch "$dir/.check-begin"
    CHILD_LOG=$log
    if [ -n "$tests" ]; then
        run_group "$dir" "$log" make -k -C "$dir" -j"$(jobs_at_once)" check TESTS="$tests" || status=$?
    else
        run_group "$dir" "$log" make -k -C "$dir" -j"$(jobs_at_once)" check || status=$?
    fi
    count_results "$name" "$dir" $status "$log"
}

check_distcheck() {
    local dir=$ROOT/build-dist log=$ROOT/build-dist/check.log status=0
    mkdir -p "$dir"
    : >"$log"
    make_configure "$log"
    configure_in "$dir" "$log"
    say "distcheck: a tarball, built out of tree from read-only sources, installed and removed again"
    # inside it the units and guards run; the other kinds have run above, on the same sources
    run_group "$dir" "$log" make -C "$dir" -j"$(jobs_at_once)" distcheck TESTS='$(GUARD_TESTS) $(UNIT_TESTS)' \
        || status=$?
    count_step distcheck $status "$log"
}

check_clang() {
    local dir=$ROOT/build-clang log=$ROOT/build-clang/check.log status=0
    mkdir -p "$dir"
    : >"$log"
    make_configure "$log"
    configure_in "$dir" "$log" CC=clang --enable-werror
    say "clang: compiling everything, warnings are errors"
    run_group "$dir" "$log" make -C "$dir" -j"$(jobs_at_once)" check TESTS= || status=$?
    count_step clang $status "$log"
}

# What a newcomer does with ./dev; the script tells of each case in TAP.
check_up() {
    local log=$ROOT/build-check/up.log status=0 passed failed
    mkdir -p "$ROOT/build-check"
    : >"$log"
    say "up: ./dev as a newcomer has it"
    CHILD_LOG=$log
    run_group "$ROOT/build-check" "$log" bash "$ROOT/t/dev/up.sh" || status=$?
    passed=$(grep -c '^ok ' "$log" || true)
    failed=$(grep -c '^not ok ' "$log" || true)
    if [ "$failed" -gt 0 ]; then
        grep -v '^ok ' "$log" | tail -n 60 >&2
    elif [ "$status" != 0 ]; then
        tail -n 20 "$log" >&2
        failed=1
    fi
    say "up: $passed passed, $failed failed"
    PASSED=$((PASSED + passed))
    FAILED=$((FAILED + failed))
}

dev_check() {
    local kind tests= asked=yes want_sanitize=no want_dist=no want_clang=no want_plain=no want_up=no
    if [ $# = 0 ]; then
        asked=no
        if [ "$opt_sanitize" = yes ]; then
            set -- sanitize
        else
            set -- unit guard fuzz api fault clang up sanitize distcheck
        fi
    fi
    for kind in "$@"; do
        case $kind in
        unit) tests="$tests \$(UNIT_TESTS)" want_plain=yes ;;
        guard) tests="$tests \$(GUARD_TESTS)" want_plain=yes ;;
        fuzz) tests="$tests \$(FUZZ_TESTS)" want_plain=yes ;;
        api) tests="$tests \$(API_TESTS)" want_plain=yes ;;
        fault)
            tests="$tests \$(FAULT_TESTS)" want_plain=yes
            # asked for by name it is a soak; among all the others it is short
            [ "$asked" = no ] || export METERPLEX_SOAK_SECONDS=${METERPLEX_SOAK_SECONDS:-600}
            ;;
        sanitize) want_sanitize=yes ;;
        distcheck) want_dist=yes ;;
        clang) want_clang=yes ;;
        up) want_up=yes ;;
        *) refuse "check: unit guard fuzz api fault up sanitize distcheck clang, and not '$kind'" ;;
        esac
    done
    # shellcheck disable=SC2086
    need_packages $PACKAGES_UP $PACKAGES_TESTS
    trap on_interrupt INT TERM
    trap stop_child EXIT
    if [ "$opt_sanitize" = yes ] && [ $want_plain = yes ]; then
        check_in "sanitizers" "$ROOT/build-sanitize" "$tests" --enable-sanitize --enable-werror
    elif [ $want_plain = yes ]; then
        check_in "tests" "$ROOT/build-check" "$tests" --enable-werror
    fi
    [ $want_clang = no ] || check_clang
    [ $want_up = no ] || check_up
    [ $want_sanitize = no ] || check_in "sanitizers" "$ROOT/build-sanitize" \
        '$(UNIT_TESTS) $(FUZZ_TESTS) $(API_TESTS) $(FAULT_TESTS)' --enable-sanitize --enable-werror
    [ $want_dist = no ] || check_distcheck
    [ $SKIPPED = 0 ] || note "$SKIPPED skipped"
    printf '%d passed, %d failed\n' "$PASSED" "$FAILED"
    [ "$FAILED" = 0 ] && [ "$PASSED" -gt 0 ]
}
