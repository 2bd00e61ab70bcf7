/* usage_counters.c: the counter file of this node and the job that carries it to the database.
 *
 * STATE_DIR/counters is mapped by the parent before the children are made, so that they share the pages and need no right to
 * the file. It is opened once in the parent's life: a reload goes on with the same one, and leaves no counts behind in
 * another. Its blocks are allocated when it is made: a full disk is then a start error and never a SIGBUS. The flusher is
 * the child that holds a POSIX record lock on the file, for one run; the lock goes with the process however that ends,
 * so that two generations, or two servers, never flush one file at once.
 *
 * Exactly once: ranges are announced in the file, the file is made durable (msync), then the events are inserted under ids
 * made of the file's id, the use of the cell and the count that the range ends with. A crash at any point leads to the same
 * ranges being sent again under the same ids, of which the database knows whether it has them.
 */
#include "usage_capture.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <sodium.h>

#include "apr_strings.h"
#include "http_log.h"
#include "usage_ingest.h"

#include "../lib/mpx_counters.h"

APLOG_USE_MODULE(meterplex_usage);

#define COUNTERS "counters" /* in the state directory */
#define FLUSH_INTERVAL apr_time_from_sec(1)
#define FLUSH_LATE_S 10
#define FLUSH_MAX 20000 /* ranges at a time */
#define FLUSH_TIMES 5   /* in one run, while there are as many */
#define LOST_TELL_S 60  /* between two lines about what was lost */

static struct {
    mpx_counters_t *counters;
    void *memory;
    apr_size_t size;
    int fd;
    const char *path, *source;
} file = { NULL, NULL, 0, -1, NULL, NULL };

static apr_int64_t started_at; /* of this generation, in seconds */
static mpx_metric_t metric_counted, metric_lost, metric_flushed, metric_used, metric_pending, metric_flushed_at;

/* --- Counting -------------------------------------------------------------------------------------------------------------------- */

static char *append(char *at, const char *end, const char *text)
{
    apr_size_t len = strlen(text) + 1;
    if (at == NULL || len > (apr_size_t)(end - at)) {
        return NULL;
    }
    memcpy(at, text, len);
    return at + len;
}

/* Type, whether there is a subject, subject, data: NUL-terminated one after the other. @return bytes, 0 when too long */
static apr_size_t payload_write(char *payload, apr_size_t size, const char *type, const char *subject, const char *data)
{
    char *at = append(payload, payload + size, type);
    at = append(at, payload + size, subject ? "s" : "-");
    at = append(at, payload + size, subject ? subject : "");
    at = append(at, payload + size, data ? data : "");
    return at ? (apr_size_t)(at - payload) : 0;
}

apr_size_t usage_counters_room(const char *type, const char *subject)
{
    apr_size_t taken = strlen(type) + 1 + 2 + (subject ? strlen(subject) : 0) + 1 + 1;
    return taken < MPX_COUNTERS_PAYLOAD_MAX ? MPX_COUNTERS_PAYLOAD_MAX - taken : 0;
}

void usage_counters_add(const mpx_uuid_t *tenant, const char *type, const char *subject, const char *data)
{
    char payload[MPX_COUNTERS_PAYLOAD_MAX];
    apr_size_t len = payload_write(payload, sizeof payload, type, subject, data);

    if (len == 0) { /* what describes it does not fit: it counts all the same */
        len = payload_write(payload, sizeof payload, type, subject, NULL);
    }
    if (file.counters && mpx_counters_add(file.counters, tenant, apr_time_now(), (int)getpid(), payload, len, 1)) {
        mpx_metric_add(metric_counted, 1);
        return;
    }
    mpx_metric_add(metric_lost, 1);
}

static void payload_read(const mpx_counter_range_t *range, mpx_event_t *event)
{
    const char *at = range->payload;
    int has_subject;

    event->type = at;
    at += strlen(at) + 1;
    has_subject = *at == 's';
    at += 2;
    event->subject = has_subject ? at : NULL;
    at += strlen(at) + 1;
    event->data = *at ? at : NULL;
    event->data_len = strlen(at);
}

/* --- Flushing ---------------------------------------------------------------------------------------------------------------------- */

/* The ranges of one tenant, which are one transaction. */
typedef struct flush {
    const apr_array_header_t *ranges;
    int first, n;
    usage_ingest_result_t result;
} flush_t;

static apr_status_t flush_tenant(mpx_call_t *call, flush_t *flush)
{
    mpx_event_t *events = apr_pcalloc(call->pool, sizeof *events * (apr_size_t)flush->n);
    apr_int64_t *repeats = apr_palloc(call->pool, sizeof *repeats * (apr_size_t)flush->n);
    usage_ingest_options_t options = { 0 };
    char id[MPX_UUID_TEXT];
    int i;

    mpx_uuid_format(mpx_counters_id(file.counters), id);
    for (i = 0; i < flush->n; i++) {
        const mpx_counter_range_t *range = &APR_ARRAY_IDX(flush->ranges, flush->first + i, mpx_counter_range_t);
        events[i].id = apr_psprintf(call->pool, "%s-%" APR_UINT64_T_FMT "-%" APR_UINT64_T_FMT, id, range->use, range->upto);
        events[i].source = file.source;
        events[i].time = range->time;
        events[i].occurrences = 1;
        repeats[i] = (apr_int64_t)range->n;
        payload_read(range, &events[i]);
    }
    options.repeats = repeats;
    call->tenant = APR_ARRAY_IDX(flush->ranges, flush->first, mpx_counter_range_t).tenant;
    return usage_ingest(call, events, flush->n, &options, &flush->result);
}

static int by_tenant(const void *a, const void *b)
{
    const mpx_counter_range_t *x = a, *y = b;
    return memcmp(x->tenant.b, y->tenant.b, sizeof x->tenant.b);
}

static apr_status_t flush_ranges(mpx_job_t *job, apr_array_header_t *ranges)
{
    apr_status_t rv = APR_SUCCESS;
    flush_t flush = { ranges, 0, 0, { 0 } };

    qsort(ranges->elts, (apr_size_t)ranges->nelts, (apr_size_t)ranges->elt_size, by_tenant);
    for (flush.first = 0; flush.first < ranges->nelts && !mpx_job_stopping(); flush.first += flush.n) {
        const mpx_uuid_t *tenant = &APR_ARRAY_IDX(ranges, flush.first, mpx_counter_range_t).tenant;
        apr_status_t one;
        int i;

        for (flush.n = 1; flush.first + flush.n < ranges->nelts
             && mpx_uuid_equal(tenant, &APR_ARRAY_IDX(ranges, flush.first + flush.n, mpx_counter_range_t).tenant);
             flush.n++) {
        }
        one = flush_tenant(job->call, &flush);
        if (one != APR_SUCCESS) {
            rv = one; /* another tenant's may pass: one that is refused must not hold up the others */
            if (mpx_database_down()) {
                break;
            }
            continue;
        }
        for (i = 0; i < flush.n; i++) {
            const mpx_counter_range_t *range = &APR_ARRAY_IDX(ranges, flush.first + i, mpx_counter_range_t);
            mpx_metric_add(metric_flushed, range->n);
            mpx_counters_settle(file.counters, range);
        }
    }
    return rv;
}

static int process_lives(int pid)
{
    return kill(pid, 0) == 0 || errno == EPERM;
}

static apr_status_t flush_some(mpx_job_t *job, apr_array_header_t *ranges)
{
    apr_status_t rv = APR_SUCCESS;

    mpx_counters_announce(file.counters, FLUSH_MAX, ranges);
    if (ranges->nelts > 0) {
        if (msync(file.memory, file.size, MS_SYNC) != 0) {
            ap_log_error(APLOG_MARK, APLOG_ERR, errno, job->server, "%s cannot be made durable", file.path);
            return APR_EGENERAL;
        }
        rv = flush_ranges(job, ranges);
    }
    mpx_counters_release(file.counters, apr_time_now(), process_lives);
    return rv;
}

static apr_status_t flush_locked(mpx_job_t *job)
{
    apr_status_t rv;
    apr_array_header_t *ranges;
    int i = 0;

    do {
        ranges = apr_array_make(job->pool, 64, sizeof(mpx_counter_range_t));
        rv = flush_some(job, ranges);
    } while (rv == APR_SUCCESS && ranges->nelts == FLUSH_MAX && ++i < FLUSH_TIMES && !mpx_job_stopping());
    return rv;
}

/* By the job and not by the requests, which are as many as what they lose. */
static void tell_lost(server_rec *s)
{
    static apr_int64_t told = -1;
    static apr_time_t told_at;
    apr_int64_t lost = mpx_metric_value(metric_lost);

    told = told < 0 ? lost : told; /* what was lost before this child took the job has been told */
    if (lost > told && (told_at == 0 || mpx_monotonic() - told_at > apr_time_from_sec(LOST_TELL_S))) {
        ap_log_error(APLOG_MARK, APLOG_ERR, 0, s,
                     "%" APR_INT64_T_FMT " requests were served and not counted: the counter file is full; raise "
                     "MeterplexCounters, or let MeterplexMeter tell fewer values apart (subject=, prop=, value=)",
                     lost - told);
        told = lost;
        told_at = mpx_monotonic();
    }
}

/* The lock is held for one run only: the job may be another child's at the next, after this one has failed and rests, and it
 * must not find the file taken by one that does nothing with it. */
static apr_status_t flush_job(mpx_job_t *job, void *baton)
{
    struct flock lock = { .l_type = F_WRLCK, .l_whence = SEEK_SET };
    apr_status_t rv;

    tell_lost(job->server);
    if (mpx_database_down()) {
        return APR_SUCCESS; /* no failure to rest after: half a second from its return the counts go on */
    }
    if (fcntl(file.fd, F_SETLK, &lock) != 0) {
        return APR_SUCCESS; /* another process is flushing it */
    }
    rv = flush_locked(job);
    job->again = 1; /* what the database refuses of one tenant's must not hold up the others' next counts */
    lock.l_type = F_UNLCK;
    fcntl(file.fd, F_SETLK, &lock);
    if (rv == APR_SUCCESS) {
        mpx_metric_set(metric_flushed_at, apr_time_sec(apr_time_now()));
    }
    return rv;
}

/* --- The file ------------------------------------------------------------------------------------------------------------------------- */

static int file_error(server_rec *s, const char *path, const char *what, int error)
{
    ap_log_error(APLOG_MARK, APLOG_EMERG, error, s, "%s: %s", path, what);
    return HTTP_INTERNAL_SERVER_ERROR;
}

/* Make a file of that size with all its blocks, under another name first, so that one found half made holds nothing. */
static int make_file(apr_pool_t *pool, server_rec *s, const char *path, apr_size_t size)
{
    const char *part = apr_pstrcat(pool, path, ".part", NULL), *wrong;
    unsigned char secret[MPX_COUNTERS_SECRET], random[8];
    void *memory;
    mpx_uuid_t id;
    int fd = mpx_state_open(part, O_RDWR | O_CREAT | O_TRUNC, &wrong), error;

    if (fd < 0) {
        return file_error(s, part, wrong, errno);
    }
    error = posix_fallocate(fd, 0, (off_t)size);
    memory = error ? MAP_FAILED : mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (memory == MAP_FAILED) {
        close(fd);
        unlink(part);
        return file_error(s, part, apr_psprintf(pool, "%" APR_SIZE_T_FMT " bytes cannot be had on this disk", size),
                          error ? error : errno);
    }
    randombytes_buf(secret, sizeof secret);
    randombytes_buf(random, sizeof random);
    mpx_uuid_v7(&id, apr_time_now(), random);
    mpx_counters_format(memory, size, &id, secret);
    error = msync(memory, size, MS_SYNC) != 0 || fsync(fd) != 0 || mpx_state_put(part, path) != 0 ? errno : 0;
    munmap(memory, size);
    close(fd);
    return error ? file_error(s, path, "cannot be written", error) : OK;
}

/* By name at the first start, made where there is none; by what the parent has kept open at each later one. */
static int open_file(apr_pool_t *pool, server_rec *s, const char *path, apr_size_t size)
{
    struct stat st;
    const char *wrong;
    int rv;

    file.fd = mpx_state_held(COUNTERS);
    if (file.fd >= 0) {
        return OK;
    }
    /* a link that leads nowhere is there, too, and is refused */
    rv = lstat(path, &st) == 0 ? OK : make_file(pool, s, path, size);
    if (rv != OK) {
        return rv;
    }
    file.fd = mpx_state_open(path, O_RDWR, &wrong);
    if (file.fd < 0) {
        return file_error(s, path, wrong, errno);
    }
    mpx_state_hold(COUNTERS, file.fd);
    return OK;
}

static int map_file(apr_pool_t *pool, server_rec *s, const char *path)
{
    struct stat st;
    const char *wrong = NULL;

    if (fstat(file.fd, &st) != 0) {
        return file_error(s, path, "cannot be looked at", errno);
    }
    file.size = (apr_size_t)st.st_size;
    /* nothing cannot be mapped; it is judged as every other file that is no counter file */
    file.memory = file.size ? mmap(NULL, file.size, PROT_READ | PROT_WRITE, MAP_SHARED, file.fd, 0) : NULL;
    if (file.memory == MAP_FAILED) {
        return file_error(s, path, "cannot be mapped", errno);
    }
    file.counters = mpx_counters_attach(file.memory, file.size, &wrong);
    if (file.counters == NULL) {
        return file_error(s, path, apr_psprintf(pool, "%s; keep it aside for its counts and start with a new one", wrong),
                          0);
    }
    file.path = apr_pstrdup(pool, path);
    return OK;
}

static apr_status_t unmap_file(void *data)
{
    munmap(file.memory, file.size);
    file.counters = NULL;
    file.fd = -1;
    return APR_SUCCESS;
}

static void refresh_gauges(void)
{
    mpx_counters_stat_t stat;
    mpx_counters_stat(file.counters, &stat);
    mpx_metric_set(metric_used, (apr_int64_t)stat.used);
    mpx_metric_set(metric_pending, (apr_int64_t)stat.pending);
}

static mpx_health_e counters_health(apr_pool_t *pool, const char **detail)
{
    apr_int64_t now = apr_time_sec(apr_time_now());
    mpx_counters_stat_t stat;
    mpx_counters_stat(file.counters, &stat);
    if (stat.used > stat.capacity / 10 * 9) {
        *detail = stat.pending > stat.capacity / 10 * 9
            ? "the counter file is nearly full; usage waits for the database"
            : "the counter file is nearly full: MeterplexMeter tells more values apart than it has room for";
        return MPX_HEALTH_DEGRADED;
    }
    if (stat.pending > 0 && now - mpx_metric_value(metric_flushed_at) > FLUSH_LATE_S && now - started_at > FLUSH_LATE_S) {
        *detail = "counted requests wait for the database";
        return MPX_HEALTH_DEGRADED;
    }
    return MPX_HEALTH_OK;
}

int usage_counters_open(apr_pool_t *pconf, server_rec *s, apr_size_t size)
{
    const char *path = apr_pstrcat(pconf, mpx_state_dir(), "/" COUNTERS, NULL);
    char node[MPX_UUID_TEXT];
    int rv = open_file(pconf, s, path, size);

    rv = rv == OK ? map_file(pconf, s, path) : rv;
    if (rv != OK) {
        return rv;
    }
    apr_pool_cleanup_register(pconf, NULL, unmap_file, apr_pool_cleanup_null);
    if (file.size != size) {
        ap_log_error(APLOG_MARK, APLOG_WARNING, 0, s,
                     "MeterplexCounters: %s has %" APR_SIZE_T_FMT " bytes and keeps them, not %" APR_SIZE_T_FMT
                     ": for another size stop httpd, and remove it when nothing waits in it (meterplex_usage_pending)",
                     path, file.size, size);
    }
    started_at = apr_time_sec(apr_time_now());
    file.source = apr_pstrcat(pconf, "urn:meterplex:node:", mpx_uuid_format(mpx_node_id(), node), NULL);
    metric_counted = mpx_metric_counter("meterplex_usage_counted_total", "Requests counted by MeterplexMeter.", NULL);
    metric_lost = mpx_metric_counter("meterplex_usage_lost_total",
                                     "Requests that could not be counted: the counter file was full.", NULL);
    metric_flushed =
        mpx_metric_counter("meterplex_usage_flushed_total",
                           "Counted requests handed to the database, which drops those of purged tenants.", NULL);
    metric_used = mpx_metric_gauge("meterplex_usage_records", "Records in the counter file.", NULL);
    metric_pending = mpx_metric_gauge("meterplex_usage_pending", "Counted requests not yet committed.", NULL);
    metric_flushed_at = mpx_metric_gauge("meterplex_usage_flush_timestamp_seconds",
                                         "When counted requests were last committed, or there were none.", NULL);
    mpx_metric_refresh_register(refresh_gauges);
    mpx_health_register("counters", counters_health);
    mpx_job_register("usage-flush", FLUSH_INTERVAL, MPX_JOB_NODE, flush_job, NULL);
    return OK;
}
