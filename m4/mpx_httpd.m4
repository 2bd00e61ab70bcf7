# MPX_CHECK_APXS: finds apxs and asks it where httpd is. apxs is asked and never run to compile: its PICFLAGS say -fPIE on
# Debian and its LDFLAGS name a path of the machine that built it.
AC_DEFUN([MPX_CHECK_APXS], [
    AC_ARG_WITH([apxs],
        [AS_HELP_STRING([--with-apxs=PATH], [the apxs of the httpd to build for (default: apxs or apxs2 in PATH)])],
        [APXS=$withval], [APXS=])
    AC_ARG_WITH([apache-libexecdir],
        [AS_HELP_STRING([--with-apache-libexecdir=DIR], [where the modules are installed (default: what apxs says)])],
        [moduledir=$withval], [moduledir=])
    mpx_asked=no
    AS_CASE([$APXS],
        [no], [AC_MSG_ERROR([--without-apxs: modules are built for an httpd, and apxs knows it])],
        [yes|""], [AC_PATH_PROGS([APXS], [apxs apxs2], [], [$PATH:/usr/local/apache2/bin:/usr/sbin])],
        [mpx_asked=yes
        AS_IF([test ! -f "$APXS" || test ! -x "$APXS"],
            [AC_MSG_ERROR([--with-apxs=$APXS: no such program; the path of apxs itself is needed, such as /usr/bin/apxs])])])
    AS_IF([test -z "$APXS"], [
        mpx_missing="$mpx_missing apache2-dev"
        mpx_missing_text="$mpx_missing_text
    apxs of httpd 2.4 (Debian: apache2-dev; elsewhere: --with-apxs=PATH)"
    ], [
        HTTPD_INCLUDEDIR=`"$APXS" -q INCLUDEDIR 2>/dev/null </dev/null`
        AS_IF([test ! -f "$HTTPD_INCLUDEDIR/httpd.h"], [
            AS_IF([test $mpx_asked = yes], [mpx_apxs="--with-apxs=$APXS"], [mpx_apxs="$APXS, found in PATH"])
            AC_MSG_ERROR([$mpx_apxs: not the apxs of an httpd with its headers; "$APXS -q INCLUDEDIR" names no directory with httpd.h])
        ])
        HTTPD_VERSION=`"$APXS" -q HTTPD_VERSION 2>/dev/null`
        HTTPD=`"$APXS" -q SBINDIR`/`"$APXS" -q PROGNAME`
        HTTPD_CPPFLAGS="-isystem $HTTPD_INCLUDEDIR `"$APXS" -q EXTRA_CPPFLAGS`"
        test -n "$moduledir" || moduledir=`"$APXS" -q LIBEXECDIR`
    ])
    AC_SUBST([APXS])
    AC_SUBST([HTTPD])
    AC_SUBST([HTTPD_CPPFLAGS])
    AC_SUBST([HTTPD_MODULEDIR], [`test -n "$APXS" && "$APXS" -q LIBEXECDIR`])
    AC_SUBST([moduledir])
])

# MPX_CHECK_HTTPD_MMN: the module magic number of httpd 2.4.55, the oldest whose API the modules use (child_stopping,
# ap_thread_create).
AC_DEFUN([MPX_CHECK_HTTPD_MMN], [
    AC_MSG_CHECKING([for httpd 2.4.55 or newer])
    mpx_save_CPPFLAGS=$CPPFLAGS
    CPPFLAGS="$CPPFLAGS $HTTPD_CPPFLAGS $APR_CFLAGS"
    AC_COMPILE_IFELSE([AC_LANG_SOURCE([[
#include <ap_mmn.h>
#if !AP_MODULE_MAGIC_AT_LEAST(20120211, 125)
#error "too old"
#endif
int mpx_mmn;
]])], [AC_MSG_RESULT([yes])], [
        AC_MSG_RESULT([no])
        AC_MSG_ERROR([the headers in $HTTPD_INCLUDEDIR are not those of httpd 2.4.55 or a newer 2.4 (module magic number 20120211.125); apxs says version ${HTTPD_VERSION:-unknown}])
    ])
    CPPFLAGS=$mpx_save_CPPFLAGS
])
