# Building: build/ out of the tree, installed into the state directory.

make_configure() {
    if [ ! -x "$ROOT/configure" ] || [ "$ROOT/configure.ac" -nt "$ROOT/configure" ]; then
        quietly "$1" autoreconf -fi "$ROOT"
    fi
}

# configure_in DIR LOG OPTION...: again only when the options differ from the last time.
configure_in() {
    local dir=$1 log=$2
    shift 2
    # make would find two sets of everything
    [ ! -e "$ROOT/config.status" ] || die "the checkout itself was configured: run 'make distclean' in $ROOT first"
    mkdir -p "$dir"
    if [ -e "$dir/Makefile" ] && [ ! -e "$dir/config.status" ]; then # an interrupted configure leaves what make cannot read
        find "$dir" -mindepth 1 ! -name .lock -delete
    fi
    if [ ! -e "$dir/config.status" ] || [ "$(cat "$dir/.options" 2>/dev/null)" != "$*" ]; then
        # objects hold directories and are made for a compiler: other options, other objects
        [ ! -e "$dir/Makefile" ] || quietly "$log" make -C "$dir" clean
        rm -f "$dir/.options"
        (cd "$dir" && quietly "$log" "$ROOT/configure" "$@")
        printf '%s' "$*" >"$dir/.options"
    fi
}

build_and_install() {
    local log=$STATE/log/build.log
    : >"$log"
    say "building in build/"
    mkdir -p "$ROOT/build"
    # two state directories of one checkout share build/
    exec 8>"$ROOT/build/.lock"
    flock -n 8 || { say "waiting for another build in build/"; flock 8; }
    make_configure "$log"
    configure_in "$ROOT/build" "$log" --prefix="$STATE/prefix" --with-apache-libexecdir="$STATE/prefix/modules"
    quietly "$log" make -C "$ROOT/build" -j"$(jobs_at_once)"
    quietly "$log" make -C "$ROOT/build" install
    exec 8>&-
    mkdir -p "$STATE/prefix/share/meterplex/htdocs"
}
