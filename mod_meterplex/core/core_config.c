/* core_config.c: core's directives, what must hold before the server starts, and how files of the state directory are
 * opened. */
#include "core_private.h"
#include "core_state.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <sodium.h>

#include "apr_lib.h"
#include "apr_strings.h"
#include "http_core.h"

#define KEYS_MAX 8
#define SHM_DEFAULT (64u * 1024 * 1024)
#define SHM_MIN (4u * 1024 * 1024) /* what all slices need, the metrics most */
#define BODY_DEFAULT (1024u * 1024)
#define EVENTS_BODY_DEFAULT (8u * 1024 * 1024)

/* Key ring of the running generation, on pages of its own that no core dump contains. */
typedef struct key_ring {
    mpx_rootkey_t keys[KEYS_MAX];
    int n;
} key_ring_t;

static core_config_t *config;
static server_rec *main_server;
static key_ring_t *ring;

core_config_t *core_config(void)
{
    return config;
}

server_rec *core_server(void)
{
    return main_server;
}

const char *mpx_state_dir(void)
{
    return config->state_dir;
}

const mpx_rootkey_t *mpx_rootkeys(int *n)
{
    *n = ring ? ring->n : 0;
    return ring && ring->n ? ring->keys : NULL;
}

const mpx_json_limits_t *mpx_json_limits(void)
{
    return &config->json;
}

void mpx_call_system(mpx_call_t *call, apr_pool_t *pool)
{
    static const mpx_principal_t system_principal = { .kind = MPX_PRINCIPAL_SYSTEM, .scopes = "" };
    int n;

    memset(call, 0, sizeof *call);
    call->pool = pool;
    call->source = core_db_source();
    call->principal = &system_principal;
    call->rootkey = mpx_rootkeys(&n);
    call->now = apr_time_now();
}

/* --- Directives ----------------------------------------------------------------------------------------------------------- */

void *core_create_server_config(apr_pool_t *pool, server_rec *s)
{
    core_config_t *c = apr_pcalloc(pool, sizeof *c);
    c->key_files = apr_array_make(pool, 2, sizeof(const char *));
    c->shm_size = SHM_DEFAULT;
    c->json.depth = 32;
    c->json.values = 512 * 1024;
    c->json.string = 65536;
    c->body_max = BODY_DEFAULT;
    c->events_body_max = EVENTS_BODY_DEFAULT;
    return c;
}

/* Every directive of server scope is of the main server alone (GLOBAL_ONLY below); virtual hosts see its values. */
void *core_merge_server_config(apr_pool_t *pool, void *base, void *add)
{
    return base;
}

void *core_create_dir_config(apr_pool_t *pool, char *path)
{
    core_dir_t *dir = apr_palloc(pool, sizeof *dir);
    dir->problem = -1;
    return dir;
}

void *core_merge_dir_config(apr_pool_t *pool, void *base, void *add)
{
    core_dir_t *dir = apr_palloc(pool, sizeof *dir);
    const core_dir_t *b = base, *a = add;
    dir->problem = a->problem >= 0 ? a->problem : b->problem;
    return dir;
}

static core_config_t *of(cmd_parms *cmd)
{
    return ap_get_module_config(cmd->server->module_config, &meterplex_module);
}

static const char *set_key_file(cmd_parms *cmd, void *dir, const char *path)
{
    const char *error = ap_check_cmd_context(cmd, GLOBAL_ONLY);
    if (error) {
        return error;
    }
    if (of(cmd)->key_files->nelts == KEYS_MAX) {
        return "MeterplexKeyFile: at most 8 key files";
    }
    APR_ARRAY_PUSH(of(cmd)->key_files, const char *) = ap_server_root_relative(cmd->pool, path);
    return NULL;
}

static const char *set_state_dir(cmd_parms *cmd, void *dir, const char *path)
{
    const char *error = ap_check_cmd_context(cmd, GLOBAL_ONLY);
    if (error) {
        return error;
    }
    of(cmd)->state_dir = ap_server_root_relative(cmd->pool, path);
    return of(cmd)->state_dir ? NULL : apr_psprintf(cmd->pool, "MeterplexStateDir: \"%s\" is not a path", path);
}

/* "64M", "512K", "1G", or bytes. @return 0 when it is none of them */
static int parse_size(const char *text, apr_size_t *out)
{
    char *end;
    apr_int64_t n;
    int shift = 0;

    if (!apr_isdigit(*text)) {
        return 0;
    }
    n = apr_strtoi64(text, &end, 10);
    switch (apr_toupper(*end)) {
    case 'K':
        shift = 10;
        end++;
        break;
    case 'M':
        shift = 20;
        end++;
        break;
    case 'G':
        shift = 30;
        end++;
        break;
    default: break;
    }
    if (apr_toupper(*end) == 'B') {
        end++;
    }
    if (*end || n < 0 || n > (APR_INT64_MAX >> shift) || n << shift > (APR_INT64_C(1) << 40)) {
        return 0;
    }
    *out = (apr_size_t)(n << shift);
    return 1;
}

static const char *set_shared_memory(cmd_parms *cmd, void *dir, const char *text)
{
    const char *error = ap_check_cmd_context(cmd, GLOBAL_ONLY);
    if (error) {
        return error;
    }
    if (!parse_size(text, &of(cmd)->shm_size) || of(cmd)->shm_size < SHM_MIN) {
        return apr_psprintf(cmd->pool, "MeterplexSharedMemory: \"%s\" is not a size; allowed are 4M and more, "
                                       "with K, M or G",
                            text);
    }
    return NULL;
}

static const char *set_request_limit(cmd_parms *cmd, core_config_t *c, const char *name, const char *value, const char *word)
{
    apr_size_t size;
    if (!parse_size(value, &size) || size == 0) {
        return apr_psprintf(cmd->pool, "MeterplexRequestLimits: \"%s\" is not a size", word);
    }
    if (strcmp(name, "body") == 0) {
        c->body_max = size;
    }
    else if (strcmp(name, "events") == 0) {
        c->events_body_max = size;
    }
    else if (strcmp(name, "string") == 0) {
        c->json.string = size;
    }
    else if (strcmp(name, "values") == 0) {
        c->json.values = size;
    }
    else if (strcmp(name, "depth") == 0 && size <= 256) {
        c->json.depth = (unsigned)size;
    }
    else {
        return apr_psprintf(cmd->pool, "MeterplexRequestLimits: \"%s\"; allowed are body=SIZE, events=SIZE, string=SIZE, "
                                       "values=SIZE and depth=1..256",
                            word);
    }
    return NULL;
}

static const char *set_request_limits(cmd_parms *cmd, void *dir, const char *word)
{
    const char *error = ap_check_cmd_context(cmd, GLOBAL_ONLY), *equals = strchr(word, '=');
    if (error) {
        return error;
    }
    return set_request_limit(cmd, of(cmd), equals ? apr_pstrmemdup(cmd->pool, word, (apr_size_t)(equals - word)) : word,
                             equals ? equals + 1 : "", word);
}

static const char *set_problem(cmd_parms *cmd, void *dir, int on)
{
    ((core_dir_t *)dir)->problem = on;
    return NULL;
}

const command_rec core_directives[] = {
    AP_INIT_TAKE1("MeterplexKeyFile", set_key_file, NULL, RSRC_CONF,
                  "file with a 32-byte root key, mode 0600; several: the first signs, all verify"),
    AP_INIT_TAKE1("MeterplexStateDir", set_state_dir, NULL, RSRC_CONF,
                  "directory for counters that survive a crash and for the node's identity"),
    AP_INIT_TAKE1("MeterplexSharedMemory", set_shared_memory, NULL, RSRC_CONF,
                  "size of the segment for principals, limits, jobs and metrics (64M)"),
    AP_INIT_ITERATE("MeterplexRequestLimits", set_request_limits, NULL, RSRC_CONF,
                    "body=1M events=8M string=64K values=512K depth=32: what a request of the API may hold"),
    AP_INIT_FLAG("MeterplexProblem", set_problem, NULL, RSRC_CONF | ACCESS_CONF,
                 "On: errors of httpd itself are answered as application/problem+json here, too"),
    { NULL }
};

/* --- Key files -------------------------------------------------------------------------------------------------------------- */

/* @return NULL, or what is wrong with the file (a sentence that says what to do) */
static const char *read_key(apr_pool_t *pool, const char *path, mpx_rootkey_t *key)
{
    struct stat st;
    const char *wrong = NULL;
    unsigned char buffer[MPX_ROOTKEY_SIZE + 1];
    ssize_t n;
    int fd = open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC); /* a FIFO would be waited for */

    if (fd < 0) {
        return errno == ELOOP ? "it is a symbolic link; name the file itself"
            : errno == ENOENT ? "there is no such file; make one with: meterplexctl keygen FILE"
                              : apr_psprintf(pool, "it cannot be opened (%s)", strerror(errno));
    }
    n = read(fd, buffer, sizeof buffer);
    if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode)) {
        wrong = "it is not a regular file";
    }
    else if (st.st_mode & 077) {
        wrong = apr_psprintf(pool, "its mode is %04o; others can read it: chmod 0600", (unsigned)st.st_mode & 07777);
    }
    else if (st.st_uid != geteuid() && st.st_uid != 0) {
        wrong = "it belongs to another user";
    }
    else if (n != MPX_ROOTKEY_SIZE) {
        wrong = apr_psprintf(pool, "it holds %s%d bytes, a root key is 32; make one with: meterplexctl keygen FILE",
                             n > MPX_ROOTKEY_SIZE ? "more than " : "", n > MPX_ROOTKEY_SIZE ? 32 : (int)n);
    }
    else if (sodium_is_zero(buffer, MPX_ROOTKEY_SIZE)) {
        wrong = "it holds nothing but zeros; make one with: meterplexctl keygen FILE";
    }
    else if (key) {
        memcpy(key->bytes, buffer, MPX_ROOTKEY_SIZE);
    }
    sodium_memzero(buffer, sizeof buffer);
    close(fd);
    return wrong;
}

int core_config_check(apr_pool_t *pool, server_rec *s)
{
    core_config_t *c = ap_get_module_config(s->module_config, &meterplex_module);
    const char *wrong;
    int i;

    config = c;
    main_server = s;
    if (sodium_init() < 0) {
        ap_log_error(APLOG_MARK, APLOG_STARTUP | APLOG_EMERG, 0, s, "libsodium cannot be initialised");
        return HTTP_INTERNAL_SERVER_ERROR;
    }
    if (c->key_files->nelts == 0) {
        ap_log_error(APLOG_MARK, APLOG_STARTUP | APLOG_EMERG, 0, s,
                     "MeterplexKeyFile is missing: make a key with \"meterplexctl keygen FILE\" and name it");
        return HTTP_INTERNAL_SERVER_ERROR;
    }
    for (i = 0; i < c->key_files->nelts; i++) {
        const char *path = APR_ARRAY_IDX(c->key_files, i, const char *);
        wrong = read_key(pool, path, NULL);
        if (wrong) {
            ap_log_error(APLOG_MARK, APLOG_STARTUP | APLOG_EMERG, 0, s, "MeterplexKeyFile %s: %s", path, wrong);
            return HTTP_INTERNAL_SERVER_ERROR;
        }
    }
    /* at a reload an error would end the server, which has its files open; the log and /health tell of them */
    wrong = c->state_dir == NULL ? "the directive is missing" : core_held_already() ? NULL
                                                                                    : core_state_wrong(pool, c->state_dir);
    if (wrong) {
        ap_log_error(APLOG_MARK, APLOG_STARTUP | APLOG_EMERG, 0, s, "MeterplexStateDir%s%s: %s",
                     c->state_dir ? " " : "", c->state_dir ? c->state_dir : "", wrong);
        return HTTP_INTERNAL_SERVER_ERROR;
    }
    return OK;
}

/* The old generation's keys are wiped when its pool goes. */
static apr_status_t forget_keys(void *data)
{
    sodium_memzero(data, sizeof(key_ring_t));
    munmap(data, sizeof(key_ring_t));
    ring = NULL;
    return APR_SUCCESS;
}

static int open_keys(apr_pool_t *pconf, server_rec *s)
{
    void *page = mmap(NULL, sizeof(key_ring_t), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    int i;

    if (page == MAP_FAILED) {
        ap_log_error(APLOG_MARK, APLOG_EMERG, errno, s, "no memory for the key ring");
        return HTTP_INTERNAL_SERVER_ERROR;
    }
    madvise(page, sizeof(key_ring_t), MADV_DONTDUMP);
    ring = page;
    apr_pool_cleanup_register(pconf, page, forget_keys, apr_pool_cleanup_null);
    for (i = 0; i < config->key_files->nelts; i++) {
        const char *path = APR_ARRAY_IDX(config->key_files, i, const char *);
        const char *wrong = read_key(pconf, path, &ring->keys[ring->n]);
        if (wrong) {
            ap_log_error(APLOG_MARK, APLOG_EMERG, 0, s, "MeterplexKeyFile %s: %s", path, wrong);
            return HTTP_INTERNAL_SERVER_ERROR;
        }
        ring->n++;
    }
    return OK;
}

/* --- State directory ------------------------------------------------------------------------------------------------------------ */

int mpx_state_open(const char *path, int flags, const char **wrong)
{
    struct stat st;
    int fd = open(path, flags | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, 0600); /* a FIFO would be waited for */

    if (fd < 0) {
        *wrong = errno == ELOOP ? "it is a symbolic link; put the file itself there" : "it cannot be opened";
        errno = errno == ELOOP ? 0 : errno;
        return -1;
    }
    if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode)) {
        *wrong = "it is not a regular file";
        close(fd);
        errno = 0;
        return -1;
    }
    return fd;
}

int mpx_state_put(const char *part, const char *path)
{
    const char *slash = strrchr(path, '/');
    char directory[PATH_MAX];
    int fd, rv;

    if (slash == NULL || slash - path >= (long)sizeof directory) {
        errno = ENAMETOOLONG;
        return -1;
    }
    memcpy(directory, path, (size_t)(slash - path) + 1);
    directory[slash - path + 1] = '\0';
    if (rename(part, path) != 0) {
        return -1;
    }
    fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    rv = fd < 0 ? -1 : fsync(fd);
    if (fd >= 0) {
        close(fd);
    }
    return rv;
}

int core_config_open(apr_pool_t *pconf, server_rec *s)
{
    int rv = open_keys(pconf, s);
    return rv == OK ? core_held_open(pconf, s) : rv;
}
