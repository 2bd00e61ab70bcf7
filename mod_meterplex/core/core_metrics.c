/* core_metrics.c: the registry of metrics. Values are 64-bit words in the shared segment, added to by one atomic
 * instruction, so that they are of the whole node and survive graceful restarts; names and help texts are each
 * generation's own memory. The directory in the segment binds a series to its words by the hash of name and labels; only
 * the parent writes it, in post_config.
 */
#include "core_private.h"

#include "apr_strings.h"

#define SERIES_MAX 1024
#define BUCKETS 14
#define HISTOGRAM_WORDS (BUCKETS + 1) /* counts of each bucket, then the sum in microseconds */

static const double bounds[BUCKETS - 1] = { 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10 };

typedef enum { KIND_COUNTER,
               KIND_GAUGE,
               KIND_SECONDS,
               KIND_HISTOGRAM } kind_e;
static const char *const kind_names[] = { "counter", "gauge", "gauge", "histogram" };

typedef struct directory_entry {
    apr_uint64_t hash; /* 0: free */
    apr_uint32_t first, words;
} directory_entry_t;

typedef struct segment {
    apr_uint32_t used_words, used_entries;
    directory_entry_t entries[SERIES_MAX];
    apr_uint64_t words[]; /* to the end of the slice */
} segment_t;

typedef struct series {
    const char *name, *help, *labels;
    kind_e kind;
    apr_uint64_t *words;
} series_t;

static segment_t *segment;
static apr_uint32_t words_max;
static series_t series[SERIES_MAX];
static int nseries;
static apr_pool_t *names;
static mpx_metric_refresh_fn *refreshers[16];
static int nrefreshers;

void core_metrics_reset(apr_pool_t *pconf)
{
    nseries = nrefreshers = 0;
    segment = NULL;
    names = pconf;
    mpx_shm_want("core.metrics", 1, 1);
}

int core_metrics_open(apr_pool_t *pconf, server_rec *s)
{
    apr_size_t size;
    int fresh;
    segment = mpx_shm_slice("core.metrics", &size, &fresh);
    if (segment == NULL || size < sizeof *segment + SERIES_MAX * sizeof(apr_uint64_t)) {
        ap_log_error(APLOG_MARK, APLOG_WARNING, 0, s, "MeterplexSharedMemory is too small to hold metrics");
        segment = NULL;
        return OK;
    }
    words_max = (apr_uint32_t)((size - sizeof *segment) / sizeof(apr_uint64_t));
    return OK;
}

/* FNV-1a, 64 bits: the names are ours, nobody chooses them against us. */
static apr_uint64_t name_hash(apr_uint64_t h, const char *text)
{
    for (; text && *text; text++) {
        h = (h ^ (unsigned char)*text) * APR_UINT64_C(1099511628211);
    }
    return h ? h : 1;
}

static apr_uint64_t *bind_words(apr_uint64_t hash, apr_uint32_t words)
{
    apr_uint32_t i;
    directory_entry_t *e;

    for (i = 0; i < segment->used_entries; i++) {
        if (segment->entries[i].hash == hash && segment->entries[i].words == words) {
            return segment->words + segment->entries[i].first;
        }
    }
    if (i == SERIES_MAX || segment->used_words + words > words_max) {
        return NULL;
    }
    e = &segment->entries[i];
    e->hash = hash;
    e->words = words;
    e->first = segment->used_words;
    segment->used_words += words;
    segment->used_entries++;
    return segment->words + e->first;
}

static mpx_metric_t enrol(kind_e kind, const char *name, const char *help, const char *labels)
{
    apr_uint64_t hash = name_hash(name_hash(APR_UINT64_C(14695981039346656037), name) ^ '{', labels);
    apr_uint64_t *words;
    series_t *m;

    if (segment == NULL || nseries == SERIES_MAX
        || (words = bind_words(hash, kind == KIND_HISTOGRAM ? HISTOGRAM_WORDS : 1)) == NULL) {
        return -1;
    }
    m = &series[nseries];
    m->kind = kind;
    m->name = apr_pstrdup(names, name);
    m->help = apr_pstrdup(names, help);
    m->labels = labels ? apr_pstrdup(names, labels) : NULL;
    m->words = words;
    return nseries++;
}

mpx_metric_t mpx_metric_counter(const char *name, const char *help, const char *labels)
{
    return enrol(KIND_COUNTER, name, help, labels);
}

mpx_metric_t mpx_metric_gauge(const char *name, const char *help, const char *labels)
{
    return enrol(KIND_GAUGE, name, help, labels);
}

mpx_metric_t mpx_metric_gauge_seconds(const char *name, const char *help, const char *labels)
{
    return enrol(KIND_SECONDS, name, help, labels);
}

mpx_metric_t mpx_metric_histogram(const char *name, const char *help, const char *labels)
{
    return enrol(KIND_HISTOGRAM, name, help, labels);
}

void mpx_metric_add(mpx_metric_t metric, apr_uint64_t n)
{
    if (metric >= 0) {
        __atomic_fetch_add(series[metric].words, n, __ATOMIC_RELAXED);
    }
}

void mpx_metric_set(mpx_metric_t metric, apr_int64_t value)
{
    if (metric >= 0) {
        __atomic_store_n(series[metric].words, (apr_uint64_t)value, __ATOMIC_RELAXED);
    }
}

apr_int64_t mpx_metric_value(mpx_metric_t metric)
{
    return metric >= 0 ? (apr_int64_t)__atomic_load_n(series[metric].words, __ATOMIC_RELAXED) : 0;
}

void mpx_metric_observe(mpx_metric_t metric, apr_interval_time_t us)
{
    int b = 0;
    if (metric < 0) {
        return;
    }
    while (b < BUCKETS - 1 && (double)us > bounds[b] * 1e6) {
        b++;
    }
    __atomic_fetch_add(&series[metric].words[b], 1, __ATOMIC_RELAXED);
    __atomic_fetch_add(&series[metric].words[BUCKETS], (apr_uint64_t)(us > 0 ? us : 0), __ATOMIC_RELAXED);
}

void mpx_metric_refresh_register(mpx_metric_refresh_fn *fn)
{
    ap_assert(nrefreshers < (int)(sizeof refreshers / sizeof *refreshers));
    refreshers[nrefreshers++] = fn;
}

static int by_name(const void *a, const void *b)
{
    const series_t *x = *(const series_t *const *)a, *y = *(const series_t *const *)b;
    int c = strcmp(x->name, y->name);
    return c ? c : strcmp(x->labels ? x->labels : "", y->labels ? y->labels : "");
}

static void visit_one(const series_t *m, mpx_metric_visit_fn *visit, void *baton)
{
    mpx_metric_sample_t sample = { m->name, m->help, kind_names[m->kind], m->labels, 0, 0, NULL, NULL, 0, 0 };
    apr_uint64_t cumulative[BUCKETS], n = 0;
    int b;

    if (m->kind == KIND_HISTOGRAM) {
        for (b = 0; b < BUCKETS; b++) {
            n += __atomic_load_n(&m->words[b], __ATOMIC_RELAXED);
            cumulative[b] = n;
        }
        sample.buckets = cumulative;
        sample.bounds = bounds;
        sample.nbuckets = BUCKETS;
        sample.sum_us = __atomic_load_n(&m->words[BUCKETS], __ATOMIC_RELAXED);
    }
    else {
        sample.is_time = m->kind == KIND_SECONDS;
        sample.value = (apr_int64_t)__atomic_load_n(m->words, __ATOMIC_RELAXED);
    }
    visit(&sample, baton);
}

void mpx_metric_walk(apr_pool_t *pool, mpx_metric_visit_fn *visit, void *baton)
{
    const series_t **sorted = apr_palloc(pool, sizeof *sorted * (apr_size_t)(nseries + 1));
    int i;

    for (i = 0; i < nrefreshers; i++) {
        refreshers[i]();
    }
    for (i = 0; i < nseries; i++) {
        sorted[i] = &series[i];
    }
    qsort(sorted, (apr_size_t)nseries, sizeof *sorted, by_name);
    for (i = 0; i < nseries; i++) {
        visit_one(sorted[i], visit, baton);
    }
}
