# MPX_NEED_PKG_CONFIG: without it nothing can be said of any library, so it is the one thing that is named.
AC_DEFUN([MPX_NEED_PKG_CONFIG], [
    m4_ifdef([PKG_PROG_PKG_CONFIG], [PKG_PROG_PKG_CONFIG([0.28])],
        [m4_fatal([pkg.m4 was not found: pkg-config is missing (Debian: pkg-config)])])
    AS_IF([test -z "$PKG_CONFIG"], [
        AC_MSG_ERROR([pkg-config 0.28 or newer is missing, which finds the libraries (Debian: apt-get install pkg-config)])
    ])
])

# MPX_NEED(PREFIX, MODULE, DEBIAN-PACKAGE): a library without which nothing is built. PREFIX_CFLAGS, PREFIX_LIBS.
AC_DEFUN([MPX_NEED], [
    PKG_CHECK_MODULES([$1], [$2], [], [
        AC_MSG_NOTICE([$2 not found])
        mpx_missing="$mpx_missing $3"
        mpx_missing_text="$mpx_missing_text
    $2 (Debian: $3)"
    ])
])

# MPX_REPORT_MISSING: stop once, naming all that MPX_CHECK_APXS and MPX_NEED did not find.
AC_DEFUN([MPX_REPORT_MISSING], [
    AS_IF([test -n "$mpx_missing"], [
        AC_MSG_ERROR([missing:$mpx_missing_text
On Debian: apt-get install$mpx_missing])
    ])
])

# MPX_WANT(PREFIX, MODULE, DEBIAN-PACKAGE): a library that only the tests use.
AC_DEFUN([MPX_WANT], [
    PKG_CHECK_MODULES([$1], [$2], [], [mpx_tests_missing="$mpx_tests_missing $3"])
])

# MPX_WARN_DRIVER: nothing is linked with mod_dbd's driver, and nothing works without it.
AC_DEFUN([MPX_WARN_DRIVER], [
    mpx_apu_libdir=`$PKG_CONFIG --variable=libdir apr-util-1`
    AS_IF([ls "$mpx_apu_libdir"/apr-util-1/apr_dbd_pgsql* >/dev/null 2>&1], [], [
        AC_MSG_WARN([httpd will not start with Meterplex: mod_dbd's driver for PostgreSQL, apr_dbd_pgsql, is not in
    $mpx_apu_libdir/apr-util-1 (Debian: apt-get install libaprutil1-dbd-pgsql)])
    ])
])
