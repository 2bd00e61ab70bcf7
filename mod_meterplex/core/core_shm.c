/* core_shm.c: the one shared segment.
 *
 * Anonymous memory made in the process pool and found again through ap_retained_data_get(): it lives across graceful
 * restarts, children inherit it by fork, nothing is left behind in a file system. A directory of slices at its beginning
 * says what it holds; when that differs from what this generation wants (another size, room or layout version) a new
 * segment is made and the parent lets go of the old one, which old children keep until they end. No pointers inside.
 */
#include "core_private.h"

#include "apr_shm.h"
#include "apr_strings.h"
#include "http_core.h"

#define SHM_KEY "meterplex-shm"
#define SHM_SLICES 16
#define SHM_NAME 24
#define SHM_ALIGN 4096

typedef struct shm_slice {
    char name[SHM_NAME];
    apr_uint32_t weight, version;
    apr_uint64_t offset, size;
} shm_slice_t;

/* Survives in the parent; pointers into process-pool memory only. */
typedef struct shm_retained {
    apr_shm_t *shm;
    apr_size_t size;
    int nslices;
    shm_slice_t slices[SHM_SLICES];
} shm_retained_t;

static shm_slice_t wanted[SHM_SLICES];
static int nwanted;
static int is_fresh;
static char *base;

void core_shm_reset(apr_pool_t *pconf)
{
    nwanted = 0;
    base = NULL;
}

void mpx_shm_want(const char *name, unsigned weight, apr_uint32_t version)
{
    shm_slice_t *slice;
    ap_assert(nwanted < SHM_SLICES && strlen(name) < SHM_NAME);
    slice = &wanted[nwanted++];
    memset(slice, 0, sizeof *slice);
    apr_cpystrn(slice->name, name, SHM_NAME);
    slice->weight = weight;
    slice->version = version;
}

static void lay_out(apr_size_t total)
{
    apr_uint64_t weights = 0, at = 0;
    int i;

    for (i = 0; i < nwanted; i++) {
        weights += wanted[i].weight;
    }
    for (i = 0; i < nwanted; i++) {
        wanted[i].offset = at;
        wanted[i].size = (apr_uint64_t)total / SHM_ALIGN * wanted[i].weight / weights * SHM_ALIGN;
        at += wanted[i].size;
    }
}

int core_shm_open(apr_pool_t *pconf, server_rec *s)
{
    shm_retained_t *retained = ap_retained_data_get(SHM_KEY);
    apr_size_t size = core_config()->shm_size;
    apr_status_t rv;
    int i;

    lay_out(size);
    if (retained == NULL) {
        retained = ap_retained_data_create(SHM_KEY, sizeof *retained);
    }
    is_fresh = retained->shm == NULL || retained->size != size || retained->nslices != nwanted
        || memcmp(retained->slices, wanted, sizeof *wanted * (apr_size_t)nwanted) != 0;
    if (is_fresh) {
        apr_shm_t *shm;
        rv = apr_shm_create(&shm, size + SHM_ALIGN, NULL, s->process->pool);
        if (rv != APR_SUCCESS) {
            ap_log_error(APLOG_MARK, APLOG_EMERG, rv, s,
                         "MeterplexSharedMemory: %" APR_SIZE_T_FMT " bytes of shared memory cannot be had", size);
            return HTTP_INTERNAL_SERVER_ERROR;
        }
        if (retained->shm) {
            ap_log_error(APLOG_MARK, APLOG_NOTICE, 0, s,
                         "the shared segment's layout has changed: limits and cached principals start anew");
            apr_shm_destroy(retained->shm);
        }
        retained->shm = shm;
        retained->size = size;
        retained->nslices = nwanted;
        memcpy(retained->slices, wanted, sizeof wanted);
    }
    /* APR keeps a word of its own at the beginning: slices start at the next page. */
    /* NOLINTNEXTLINE(performance-no-int-to-ptr): rounded up as a number, once at the start */
    base = (char *)APR_ALIGN((apr_uintptr_t)apr_shm_baseaddr_get(retained->shm), SHM_ALIGN);
    for (i = 0; i < nwanted && is_fresh; i++) {
        ap_log_error(APLOG_MARK, APLOG_INFO, 0, s, "shared memory: %s has %" APR_UINT64_T_FMT " bytes", wanted[i].name,
                     wanted[i].size);
    }
    return OK;
}

void *mpx_shm_slice(const char *name, apr_size_t *size, int *fresh)
{
    int i;
    for (i = 0; i < nwanted && base; i++) {
        if (strcmp(wanted[i].name, name) == 0) {
            *size = (apr_size_t)wanted[i].size;
            *fresh = is_fresh;
            return base + wanted[i].offset;
        }
    }
    *size = 0;
    *fresh = 0;
    return NULL;
}
