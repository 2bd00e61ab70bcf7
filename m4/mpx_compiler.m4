# MPX_TRY_FLAG(FLAG): appends FLAG to MPX_CFLAGS where the compiler knows it.
AC_DEFUN([MPX_TRY_FLAG], [
    AC_MSG_CHECKING([whether $CC knows $1])
    mpx_save_CFLAGS=$CFLAGS
    CFLAGS="$CFLAGS -Werror $1"
    AC_COMPILE_IFELSE([AC_LANG_PROGRAM([], [])],
        [AC_MSG_RESULT([yes]); MPX_CFLAGS="$MPX_CFLAGS $1"], [AC_MSG_RESULT([no])])
    CFLAGS=$mpx_save_CFLAGS
])

# MPX_REQUIRE_FLAG(FLAG, MESSAGE)
AC_DEFUN([MPX_REQUIRE_FLAG], [
    mpx_save_CFLAGS=$CFLAGS
    CFLAGS="$CFLAGS $1"
    AC_LINK_IFELSE([AC_LANG_PROGRAM([], [])], [], [AC_MSG_ERROR([$2])])
    CFLAGS=$mpx_save_CFLAGS
])

# MPX_COMPILER_FLAGS: MPX_CFLAGS and MPX_LDFLAGS, --enable-werror, --enable-sanitize, SANITIZER_PRELOAD.
# Hidden visibility is a matter of correctness: httpd loads modules with RTLD_GLOBAL, and two of them that carry the same
# helper would use the one loaded first.
AC_DEFUN([MPX_COMPILER_FLAGS], [
    MPX_CFLAGS="-std=gnu11 -fvisibility=hidden -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes"
    MPX_LDFLAGS=
    MPX_TRY_FLAG([-fstack-protector-strong])

    AC_ARG_ENABLE([werror],
        [AS_HELP_STRING([--enable-werror], [a warning is an error])], [], [enable_werror=no])
    AS_IF([test "x$enable_werror" = xyes], [MPX_CFLAGS="$MPX_CFLAGS -Werror"])

    AC_ARG_ENABLE([sanitize],
        [AS_HELP_STRING([--enable-sanitize], [build with AddressSanitizer and UndefinedBehaviorSanitizer])],
        [], [enable_sanitize=no])
    SANITIZER_PRELOAD=
    AS_IF([test "x$enable_sanitize" = xyes], [
        MPX_REQUIRE_FLAG([-fsanitize=address,undefined],
            [$CC cannot link with -fsanitize=address,undefined (Debian: libasan8 and libubsan1, which gcc-12 brings)])
        MPX_CFLAGS="$MPX_CFLAGS -fsanitize=address,undefined -fno-omit-frame-pointer -fno-sanitize-recover=undefined -U_FORTIFY_SOURCE -g"
        MPX_LDFLAGS="$MPX_LDFLAGS -fsanitize=address,undefined"
        # a stock httpd is not instrumented: the run-time libraries must come first, so the tests preload them into it
        for mpx_lib in libasan.so libubsan.so; do
            mpx_path=`$CC -print-file-name=$mpx_lib`
            AS_IF([test -f "$mpx_path"], [SANITIZER_PRELOAD="$SANITIZER_PRELOAD${SANITIZER_PRELOAD:+:}`readlink -f $mpx_path`"],
                [AC_MSG_ERROR([--enable-sanitize: $CC has no shared $mpx_lib to preload into httpd; use gcc])])
        done
    ])
    # for the tables in shared memory: a test program of its own (it does not go together with the others)
    AC_CACHE_CHECK([whether $CC links with -fsanitize=thread], [mpx_cv_tsan], [
        mpx_save_CFLAGS=$CFLAGS
        CFLAGS="$CFLAGS -fsanitize=thread"
        AC_LINK_IFELSE([AC_LANG_PROGRAM([], [])], [mpx_cv_tsan=yes], [mpx_cv_tsan=no])
        CFLAGS=$mpx_save_CFLAGS
    ])
    AM_CONDITIONAL([THREAD_SANITIZER], [test "x$mpx_cv_tsan" = xyes && test "x$enable_sanitize" != xyes])
    AM_CONDITIONAL([SANITIZE], [test "x$enable_sanitize" = xyes])
    AC_SUBST([SANITIZER_PRELOAD])
    AC_SUBST([MPX_CFLAGS])
    AC_SUBST([MPX_LDFLAGS])
    AC_SUBST([MPX_ATOMIC_CFLAGS])
])

# MPX_CHECK_ATOMICS: words in shared memory are changed by processes that may be killed at any instruction. Where APR has no
# builtin it falls back to a mutex of one process, which protects nothing there, so such a platform is refused.
AC_DEFUN([MPX_CHECK_ATOMICS], [
    AC_MSG_CHECKING([for lock-free 64-bit atomics])
    AC_COMPILE_IFELSE([AC_LANG_SOURCE([[
#include <stdint.h>
_Static_assert(__atomic_always_lock_free(sizeof(uint64_t), 0), "64-bit atomics take a lock");
int mpx_atomics;
]])], [AC_MSG_RESULT([yes])], [
        AC_MSG_RESULT([no])
        AC_MSG_ERROR([this platform has no lock-free 64-bit atomics: the tables in shared memory cannot be kept])
    ])

    MPX_ATOMIC_CFLAGS=
    AS_CASE([$host_cpu], [x86_64], [MPX_ATOMIC_CFLAGS=-mcx16])
    AC_MSG_CHECKING([for a 16-byte compare-and-swap without libatomic])
    mpx_save_CFLAGS=$CFLAGS
    CFLAGS="$CFLAGS $MPX_ATOMIC_CFLAGS"
    AC_LINK_IFELSE([AC_LANG_SOURCE([[
static unsigned __int128 word __attribute__((aligned(16)));
int main(void)
{
    return __sync_bool_compare_and_swap(&word, 0, 2) ? 0 : 1;
}
]])], [AC_MSG_RESULT([yes])], [
        AC_MSG_RESULT([no])
        AC_MSG_ERROR([$CC makes no inline 16-byte compare-and-swap for $host_cpu])
    ])
    CFLAGS=$mpx_save_CFLAGS
])
