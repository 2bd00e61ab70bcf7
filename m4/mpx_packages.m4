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
