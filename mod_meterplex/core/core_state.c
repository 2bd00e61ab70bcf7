/* core_state.c: see core_state.h. */
#include "core_state.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <apr_strings.h>
#include <apr_user.h>

static const char *name_of(apr_pool_t *pool, uid_t user)
{
    char *name;
    return apr_uid_name_get(&name, user, pool) == APR_SUCCESS ? name : apr_psprintf(pool, "%lu", (unsigned long)user);
}

const char *core_state_wrong(apr_pool_t *pool, const char *path)
{
    struct stat st;

    if (stat(path, &st) != 0) {
        return errno == ENOENT ? apr_psprintf(pool, "there is no such directory; make it: install -d -m 0700 %s", path)
                               : apr_psprintf(pool, "it cannot be looked at (%s)", strerror(errno));
    }
    if (!S_ISDIR(st.st_mode)) {
        return "it is not a directory; name one";
    }
    if (st.st_uid != geteuid() && st.st_uid != 0) {
        return apr_psprintf(pool,
                            "it belongs to user %s, and must belong to the user who starts httpd, or to root: chown %s %s",
                            name_of(pool, st.st_uid), name_of(pool, geteuid()), path);
    }
    if (st.st_mode & 022) {
        return apr_psprintf(pool, "its mode is %04o; others can change what is in it: chmod 0700 %s",
                            (unsigned)st.st_mode & 07777, path);
    }
    if (faccessat(AT_FDCWD, path, W_OK | X_OK, AT_EACCESS) != 0) {
        return apr_psprintf(pool, "it cannot be written to (%s); the user who starts httpd must be able to",
                            strerror(errno));
    }
    return NULL;
}
