/* core_held.c: the files of the state directory that this server has in use, whatever becomes of their names.
 *
 * The parent keeps them open for its life, and each generation takes them up by descriptor and never by name again: the
 * children of two generations write to one file, and what is counted there and not yet handed on is in reach, though
 * somebody removes or moves the file or the whole directory and makes it anew. A reload could do nothing else without a
 * loss. To go over to the new file would leave what waits in the old one, which nobody flushes once the old generation has
 * ended; to refuse the reload would end the server, whose parent exits when check_config or post_config fails.
 *
 * The parent looks at the names at each reload and every ten seconds or so. The lock and the node's id it puts there again:
 * without the lock a second server could start here. The rest it tells in the log and in /health. When it is stopped, it
 * writes what has no name any more into the directory again, so that the next start finds it.
 */
#include "core_private.h"
#include "core_state.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <sodium.h>

#include "apr_strings.h"
#include "http_core.h"

#define HELD_KEY "meterplex-state-held"
#define FILES_MAX 4
#define NAME_SIZE 16
#define COPY_SIZE 65536

typedef struct held_file {
    char name[NAME_SIZE];
    int fd;
} held_file_t;

/* In the parent, over reloads; pointers into process-pool memory only. */
typedef struct held {
    const char *directory;
    pid_t parent;
    mpx_uuid_t node_id;
    int lock;
    int nfiles;
    held_file_t files[FILES_MAX];
} held_t;

static held_t *held;
static const char *told; /* what the log has last said is wrong, in this generation */
static mpx_metric_t metric_in_place;

const mpx_uuid_t *mpx_node_id(void)
{
    return &held->node_id;
}

int mpx_state_held(const char *name)
{
    int i;
    for (i = 0; i < held->nfiles; i++) {
        if (strcmp(held->files[i].name, name) == 0) {
            return held->files[i].fd;
        }
    }
    return -1;
}

void mpx_state_hold(const char *name, int fd)
{
    held_file_t *file = &held->files[held->nfiles];
    ap_assert(held->nfiles < FILES_MAX && strlen(name) < NAME_SIZE);
    apr_cpystrn(file->name, name, NAME_SIZE);
    file->fd = fd;
    held->nfiles++;
}

int core_held_already(void)
{
    return ap_retained_data_get(HELD_KEY) != NULL;
}

static const char *path_of(apr_pool_t *pool, const char *directory, const char *name)
{
    return apr_pstrcat(pool, directory, "/", name, NULL);
}

/* --- Lock and node id ---------------------------------------------------------------------------------------------------- */

/* A POSIX record lock held by the parent for its life: children do not inherit it, so it ends with the parent however that
 * dies; a second server on the same directory is refused.
 * @return the descriptor; or -1, what is wrong, and errno for the log line, or 0 */
static int take_lock(apr_pool_t *pool, const char *directory, const char **wrong)
{
    struct flock lock = { .l_type = F_WRLCK, .l_whence = SEEK_SET };
    int fd = mpx_state_open(path_of(pool, directory, "lock"), O_RDWR | O_CREAT, wrong), error;

    if (fd < 0) {
        error = errno;
        *wrong = apr_pstrcat(pool, "lock: ", *wrong, NULL);
        errno = error;
        return -1;
    }
    if (fcntl(fd, F_SETLK, &lock) != 0) {
        error = errno;
        close(fd); /* no lock of ours goes with it: what we hold would have been had again */
        *wrong = "another server is using it; each needs a directory of its own";
        errno = error;
        return -1;
    }
    return fd;
}

/* @return NULL; or what is wrong, and errno for the log line */
static const char *write_node_id(apr_pool_t *pool, const char *directory, const mpx_uuid_t *id)
{
    const char *path = path_of(pool, directory, "node.id"), *part = apr_pstrcat(pool, path, ".part", NULL), *wrong;
    char text[MPX_UUID_TEXT];
    int fd = mpx_state_open(part, O_WRONLY | O_CREAT | O_TRUNC, &wrong), ok;

    if (fd < 0) {
        int error = errno;
        wrong = apr_pstrcat(pool, "node.id.part: ", wrong, NULL);
        errno = error;
        return wrong;
    }
    mpx_uuid_format(id, text);
    ok = write(fd, text, sizeof text - 1) == sizeof text - 1 && fsync(fd) == 0;
    close(fd);
    return ok && mpx_state_put(part, path) == 0 ? NULL : "node.id: it cannot be written";
}

/* The node's id, made where there is none. @return NULL; or what is wrong, and errno for the log line, or 0 */
static const char *open_node_id(apr_pool_t *pool, const char *directory, mpx_uuid_t *id)
{
    const char *wrong;
    char text[MPX_UUID_TEXT] = "";
    unsigned char random[8];
    int fd = mpx_state_open(path_of(pool, directory, "node.id"), O_RDONLY, &wrong), error = errno, ok;

    if (fd < 0 && error != ENOENT) {
        wrong = apr_pstrcat(pool, "node.id: ", wrong, NULL);
        errno = error;
        return wrong;
    }
    if (fd >= 0) {
        ok = read(fd, text, sizeof text - 1) == sizeof text - 1 && mpx_uuid_parse(text, id);
        close(fd);
        errno = 0;
        return ok ? NULL : "node.id: it does not hold a node id; restore or remove it";
    }
    randombytes_buf(random, sizeof random);
    mpx_uuid_v7(id, apr_time_now(), random);
    return write_node_id(pool, directory, id);
}

/* --- What has become of the names ------------------------------------------------------------------------------------------ */

static int leads_to(const char *path, int fd)
{
    struct stat there, ours;
    return lstat(path, &there) == 0 && fstat(fd, &ours) == 0 && there.st_dev == ours.st_dev && there.st_ino == ours.st_ino;
}

static int has_no_name(int fd)
{
    struct stat st;
    return fstat(fd, &st) == 0 && st.st_nlink == 0;
}

/* The lock that lies there now is taken, too, and the older one never let go: its directory may have been moved, and a
 * server could be started on that. The id only where the lock is ours. @return NULL, or what is wrong */
static const char *guard_again(apr_pool_t *pool)
{
    struct stat st;
    const char *wrong;
    mpx_uuid_t id;

    if (!leads_to(path_of(pool, held->directory, "lock"), held->lock)) {
        int fd = take_lock(pool, held->directory, &wrong);
        if (fd < 0) {
            return wrong;
        }
        held->lock = fd;
    }
    if (lstat(path_of(pool, held->directory, "node.id"), &st) != 0 && errno == ENOENT) {
        return write_node_id(pool, held->directory, &held->node_id);
    }
    wrong = open_node_id(pool, held->directory, &id);
    return wrong                              ? wrong
        : mpx_uuid_equal(&id, &held->node_id) ? NULL
                                              : "node.id is another than this server's: put the right one there";
}

/* @return NULL, or what is wrong (a sentence that says what to do) */
static const char *look(apr_pool_t *pool)
{
    const char *wrong = core_state_wrong(pool, held->directory);
    int i;

    wrong = wrong ? wrong : guard_again(pool);
    for (i = 0; i < held->nfiles && wrong == NULL; i++) {
        const held_file_t *file = &held->files[i];
        if (leads_to(path_of(pool, held->directory, file->name), file->fd)) {
            continue;
        }
        wrong = apr_psprintf(pool,
                             has_no_name(file->fd)
                                 ? "%s has been removed: stop httpd, which writes it there again, and start it"
                                 : "%s has been moved away: move it back; or, when nothing waits in it "
                                   "(meterplex_usage_pending), stop httpd and start it with a new one",
                             file->name);
    }
    return wrong;
}

static void look_and_tell(apr_pool_t *pool, server_rec *s)
{
    const char *wrong = look(pool);

    if (wrong && (told == NULL || strcmp(wrong, told) != 0)) {
        ap_log_error(APLOG_MARK, APLOG_ERR, 0, s,
                     "MeterplexStateDir %s: %s. This server goes on with the files that it has open",
                     held->directory, wrong);
        told = apr_pstrdup(s->process->pconf, wrong);
    }
    told = wrong ? told : NULL;
    mpx_metric_set(metric_in_place, wrong == NULL);
}

int core_held_monitor(apr_pool_t *pconf, server_rec *s)
{
    apr_pool_t *pool;

    apr_pool_create(&pool, pconf);
    look_and_tell(pool, s);
    apr_pool_destroy(pool);
    return DECLINED;
}

mpx_health_e core_held_health(apr_pool_t *pool, const char **detail)
{
    if (metric_in_place < 0 || mpx_metric_value(metric_in_place)) {
        return MPX_HEALTH_OK;
    }
    *detail = "the state directory, or a file in it, has been removed or changed under this server: the error log says "
              "what to do";
    return MPX_HEALTH_DEGRADED;
}

/* --- The end --------------------------------------------------------------------------------------------------------------- */

/* @return 0, or -1 and errno */
static int copy(int from, int to)
{
    static char buffer[COPY_SIZE];
    off_t at = 0;
    ssize_t n, written;

    while ((n = pread(from, buffer, sizeof buffer, at)) > 0) {
        written = write(to, buffer, (size_t)n);
        if (written != n) {
            errno = written < 0 ? errno : ENOSPC;
            return -1;
        }
        at += n;
    }
    return n == 0 ? fsync(to) : -1;
}

/* Into the directory again, under its name; or, where another file has that, under one that nobody has. */
static void write_back(apr_pool_t *pool, server_rec *s, const held_file_t *file)
{
    struct stat st;
    const char *path = path_of(pool, held->directory, file->name), *part, *wrong = "it cannot be written";
    int fd, error;

    if (lstat(path, &st) == 0) {
        path = apr_psprintf(pool, "%s.kept-%" APR_TIME_T_FMT, path, apr_time_now());
    }
    part = apr_pstrcat(pool, path, ".part", NULL);
    fd = mpx_state_open(part, O_WRONLY | O_CREAT | O_TRUNC, &wrong);
    if (fd >= 0 && copy(file->fd, fd) == 0 && mpx_state_put(part, path) == 0) {
        ap_log_error(APLOG_MARK, APLOG_WARNING, 0, s,
                     "MeterplexStateDir %s: %s had been removed under this server; what was in it is in %s now",
                     held->directory, file->name, path);
        close(fd);
        return;
    }
    error = errno;
    if (fd >= 0) {
        close(fd);
        unlink(part);
    }
    ap_log_error(APLOG_MARK, APLOG_ERR, error, s,
                 "MeterplexStateDir %s: %s had been removed under this server, and what was in it is lost: %s: %s",
                 held->directory, file->name, part, wrong);
}

/* The process pool goes, and the parent with it: its children have ended. With -X it is a child, too. */
static apr_status_t end(void *data)
{
    server_rec *s = data;
    apr_pool_t *pool;
    int i;

    if (getpid() != held->parent) {
        return APR_SUCCESS;
    }
    apr_pool_create(&pool, s->process->pool);
    for (i = 0; i < held->nfiles; i++) {
        if (has_no_name(held->files[i].fd)) {
            mkdir(held->directory, 0700); /* most often it is there */
            look(pool);                   /* for the lock and the id */
            write_back(pool, s, &held->files[i]);
        }
    }
    apr_pool_destroy(pool);
    return APR_SUCCESS;
}

/* Of this generation's code, which goes with its pool. */
static apr_status_t forget_end(void *data)
{
    server_rec *s = data;
    apr_pool_cleanup_kill(s->process->pool, s, end);
    return APR_SUCCESS;
}

/* --- Opening --------------------------------------------------------------------------------------------------------------- */

/* A reload does not lead to another directory: what is counted and not yet handed on lies in this one, and children that
 * have yet to end go on writing there. */
static void stay(server_rec *s)
{
    if (strcmp(held->directory, core_config()->state_dir) != 0) {
        ap_log_error(APLOG_MARK, APLOG_WARNING, 0, s,
                     "MeterplexStateDir %s: %s stays in use until httpd is stopped and started; move what is in it in "
                     "between",
                     core_config()->state_dir, held->directory);
        core_config()->state_dir = held->directory;
    }
}

int core_held_open(apr_pool_t *pconf, server_rec *s)
{
    const char *directory = core_config()->state_dir, *wrong;
    mpx_uuid_t id;
    int lock;

    told = NULL;
    held = ap_retained_data_get(HELD_KEY);
    if (held) {
        stay(s);
        return OK;
    }
    lock = take_lock(pconf, directory, &wrong); /* open for the life of the process */
    wrong = lock < 0 ? wrong : open_node_id(pconf, directory, &id);
    if (wrong) {
        ap_log_error(APLOG_MARK, APLOG_EMERG, errno, s, "MeterplexStateDir %s: %s", directory, wrong);
        return HTTP_INTERNAL_SERVER_ERROR;
    }
    held = ap_retained_data_create(HELD_KEY, sizeof *held);
    held->directory = apr_pstrdup(s->process->pool, directory);
    held->parent = getpid();
    held->node_id = id;
    held->lock = lock;
    return OK;
}

void core_held_watch(apr_pool_t *pconf, server_rec *s)
{
    metric_in_place = mpx_metric_gauge("meterplex_state_in_place",
                                       "1 while the state directory holds the files that this server has in use.", NULL);
    look_and_tell(pconf, s);
    apr_pool_pre_cleanup_register(s->process->pool, s, end);
    apr_pool_cleanup_register(pconf, s, forget_end, apr_pool_cleanup_null);
}
