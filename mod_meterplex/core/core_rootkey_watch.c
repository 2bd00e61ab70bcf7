/* core_rootkey_watch.c: are the root keys of this generation the installation's? With another one every API key is
 * refused, and nothing else would show it. The pulse asks together with what it asks anyway. The answer stands on a page
 * that the children of one generation share: so one of them tells the log, and those of an older generation, which have
 * other keys, have no say in it.
 */
#include "core_private.h"

#include <errno.h>
#include <sys/mman.h>

#include "apr_strings.h"

typedef struct shared {
    int strange;
} shared_t;

static shared_t *shared;
static unsigned char (*fingerprints)[MPX_FINGERPRINT_SIZE];
static int nfingerprints;

static apr_status_t unmap(void *data)
{
    munmap(data, sizeof(shared_t));
    shared = NULL;
    return APR_SUCCESS;
}

int core_rootkey_watch_open(apr_pool_t *pconf, server_rec *s)
{
    void *page = mmap(NULL, sizeof(shared_t), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    const mpx_rootkey_t *keys = mpx_rootkeys(&nfingerprints);
    int i;

    if (page == MAP_FAILED) {
        ap_log_error(APLOG_MARK, APLOG_EMERG, errno, s, "no memory to watch the root keys with");
        return HTTP_INTERNAL_SERVER_ERROR;
    }
    shared = page;
    apr_pool_cleanup_register(pconf, page, unmap, apr_pool_cleanup_null);
    fingerprints = apr_palloc(pconf, (apr_size_t)nfingerprints * sizeof *fingerprints);
    for (i = 0; i < nfingerprints; i++) {
        mpx_rootkey_fingerprint(&keys[i], fingerprints[i]);
    }
    return OK;
}

mpx_param_t core_rootkey_watch_param(apr_pool_t *pool)
{
    mpx_param_array_t *array = mpx_param_array_make(pool, MPX_ARRAY_BYTEA, 0);
    int i;

    for (i = 0; i < nfingerprints; i++) {
        mpx_param_array_bytes(array, fingerprints[i], sizeof fingerprints[i]);
    }
    return mpx_param_array(array);
}

void core_rootkey_watch_note(server_rec *s, mpx_rootkey_standing_e standing)
{
    int strange = standing == MPX_ROOTKEY_STRANGE;
    const apr_array_header_t *files = core_config()->key_files;

    if (__atomic_exchange_n(&shared->strange, strange, __ATOMIC_RELAXED) == strange) {
        return;
    }
    if (strange) {
        ap_log_error(APLOG_MARK, APLOG_ERR, 0, s,
                     "MeterplexKeyFile %s%s: not a root key of this installation, so that every API key is refused (401); "
                     "name the file that was named before, and reload",
                     APR_ARRAY_IDX(files, 0, const char *), files->nelts > 1 ? ", ..." : "");
    }
    else {
        ap_log_error(APLOG_MARK, APLOG_NOTICE, 0, s, "MeterplexKeyFile %s%s: a root key of this installation now",
                     APR_ARRAY_IDX(files, 0, const char *), files->nelts > 1 ? ", ..." : "");
    }
}

mpx_health_e core_rootkey_watch_health(apr_pool_t *pool, const char **detail)
{
    if (shared == NULL || !__atomic_load_n(&shared->strange, __ATOMIC_RELAXED)) {
        return MPX_HEALTH_OK;
    }
    *detail = "MeterplexKeyFile names no root key of this installation, so that every API key is refused: "
              "meterplexctl doctor says of a file whether it is one";
    return MPX_HEALTH_DOWN;
}
