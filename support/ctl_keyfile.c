/* ctl_keyfile.c: the root key's file: making one, and reading one under the rules that httpd applies. */
#include "ctl.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <apr_strings.h>
#include <sodium.h>

static const char *read_key(apr_pool_t *pool, const char *path, mpx_rootkey_t *key)
{
    unsigned char bytes[MPX_ROOTKEY_SIZE + 1];
    struct stat st;
    const char *wrong = NULL;
    ssize_t n;
    int fd = open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);

    if (fd < 0) {
        return errno == ELOOP ? "it is a symbolic link; name the file itself"
            : errno == ENOENT ? apr_psprintf(pool, "there is no such file; make one with: meterplexctl keygen %s", path)
                              : apr_psprintf(pool, "it cannot be opened (%s)", strerror(errno));
    }
    n = read(fd, bytes, sizeof bytes);
    if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode)) {
        wrong = "it is not a regular file";
    }
    else if (st.st_mode & 077) {
        wrong =
            apr_psprintf(pool, "its mode is %04o, so others can read it: chmod 0600 %s", (unsigned)st.st_mode & 07777, path);
    }
    else if (st.st_uid != geteuid() && st.st_uid != 0) {
        wrong = "it belongs to another user than root or the one who runs this";
    }
    else if (n != MPX_ROOTKEY_SIZE) {
        wrong = apr_psprintf(pool, "it holds %s bytes than the 32 of a root key; make one with: meterplexctl keygen FILE",
                             n > MPX_ROOTKEY_SIZE ? "more" : "fewer");
    }
    else {
        memcpy(key->bytes, bytes, MPX_ROOTKEY_SIZE);
    }
    sodium_memzero(bytes, sizeof bytes);
    close(fd);
    return wrong;
}

static apr_status_t forget(void *key)
{
    sodium_memzero(key, sizeof(mpx_rootkey_t));
    return APR_SUCCESS;
}

const char *ctl_keyfile_wrong(ctl_t *ctl)
{
    apr_pool_cleanup_register(ctl->pool, &ctl->rootkey, forget, apr_pool_cleanup_null);
    return read_key(ctl->pool, ctl->key_file, &ctl->rootkey);
}

int ctl_rootkey(ctl_t *ctl)
{
    const char *wrong;

    if (ctl->key_file == NULL || *ctl->key_file == '\0') {
        return ctl_usage(ctl, "this needs the root key: give --key-file FILE or METERPLEX_KEY_FILE");
    }
    wrong = ctl_keyfile_wrong(ctl);
    return wrong ? ctl_fail("%s cannot be used as root key: %s", ctl->key_file, wrong) : CTL_OK;
}

static int ask_standing(ctl_t *ctl, mpx_rootkey_standing_e *standing)
{
    mpx_call_t call;

    ctl_call(ctl, &call, ctl->pool, NULL);
    return mpx_rootkey_standing(&call, standing) == APR_SUCCESS ? CTL_OK : ctl_fail_call(ctl, &call);
}

int ctl_rootkey_new(ctl_t *ctl)
{
    mpx_rootkey_standing_e standing;
    int rv = ask_standing(ctl, &standing);

    return rv != CTL_OK ? rv
        : standing == MPX_ROOTKEY_KNOWN
        ? ctl_fail("%s is a root key of this installation already; for another key of an administrator: meterplexctl key "
                   "create --tenant platform --name NAME --scope platform:admin",
                   ctl->key_file)
        : CTL_OK;
}

int ctl_rootkey_known(ctl_t *ctl)
{
    mpx_rootkey_standing_e standing;
    int rv = ask_standing(ctl, &standing);

    return rv != CTL_OK ? rv
        : standing == MPX_ROOTKEY_STRANGE
        ? ctl_fail("%s is not a root key of this installation, and httpd would know no API key made with it: give the "
                   "file that MeterplexKeyFile names",
                   ctl->key_file)
        : CTL_OK;
}

/* A new name survives a crash only when its directory has been written too. */
static int sync_directory_of(apr_pool_t *pool, const char *path)
{
    const char *slash = strrchr(path, '/');
    const char *dir = slash == NULL ? "." : slash == path ? "/"
                                                          : apr_pstrndup(pool, path, (apr_size_t)(slash - path));
    int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC), rv;

    if (fd < 0) {
        return -1;
    }
    rv = fsync(fd);
    close(fd);
    return rv;
}

static int write_key(int fd)
{
    unsigned char bytes[MPX_ROOTKEY_SIZE];
    ssize_t n;

    randombytes_buf(bytes, sizeof bytes);
    n = write(fd, bytes, sizeof bytes);
    sodium_memzero(bytes, sizeof bytes);
    if (n >= 0 && n != (ssize_t)sizeof bytes) {
        errno = ENOSPC;
        return -1;
    }
    return n < 0 ? -1 : fsync(fd);
}

int ctl_keygen(ctl_t *ctl, int argc, const char *const *argv)
{
    apr_array_header_t *rest;
    const char *path;
    int rv = ctl_options(ctl, NULL, argc, argv, 1, 1, &rest), fd, written;

    if (rv != CTL_OK) {
        return rv;
    }
    path = APR_ARRAY_IDX(rest, 0, const char *);
    fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0) {
        return errno == EEXIST
            ? ctl_fail("%s exists already and is left as it is: a key that is lost takes every API key with "
                       "it; name another file",
                       path)
            : ctl_fail("%s cannot be made: %s", path, strerror(errno));
    }
    written = fchmod(fd, 0600) == 0 && write_key(fd) == 0;
    if (close(fd) != 0 || !written || sync_directory_of(ctl->pool, path) != 0) {
        rv = ctl_fail("%s cannot be written: %s", path, strerror(errno));
        unlink(path);
        return rv;
    }
    if (ctl->json) {
        mpx_jsonw_t *json = mpx_jsonw_make(ctl->pool);
        mpx_jsonw_object(json);
        mpx_jsonw_member_string(json, "key_file", path);
        mpx_jsonw_end(json);
        ctl_print_json(json);
    }
    else {
        printf("%s holds a new root key. Keep a copy where the server cannot reach it.\n", path);
    }
    return CTL_OK;
}
