/* ctl_import.c: `meterplexctl import`: usage out of access logs that exist already.
 *
 * Each line is one event. Its id is BLAKE2b-128 over the line's byte offset and content: a second run finds the same ids, a
 * file that has grown brings its new lines only, two equal lines of one file are two events, and a file that was renamed by
 * rotation is still the same. Lines are stored in batches, each its own transaction; memory does not grow with the file.
 */
#include "ctl_import.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include <apr_strings.h>
#include <sodium.h>

#include "mpx_clf.h"

#define BATCH_EVENTS 2000
#define BATCH_BYTES (8 * 1024 * 1024) /* of lines: bounds the memory of a batch of long ones */
#define SHOWN 20                      /* malformed and cut lines that are shown */
#define AHEAD apr_time_from_sec(86400)
#define AWAY_MAX apr_time_from_sec(30) /* how long a database that went away is waited for */
#define ID_BYTES 16
/* No client may write to this source: the ids below can be foretold by whoever knows the log, and an event that a tenant had
 * posted under one of them would make the line a duplicate. */
#define SOURCE MPX_EVENT_SOURCE_RESERVED "access-log"
#define SOURCE_MAX 256 /* bytes, as for every event */

volatile sig_atomic_t ctl_import_stop;

typedef struct import {
    ctl_t *ctl;
    mpx_clf_format_e format;
    const char *source, *type;
    mpx_uuid_t tenant;
    int strict, show_all, take_unfinished;
    ctl_progress_t progress;
    apr_pool_t *batch_pool;     /* cleared with each batch */
    apr_array_header_t *events; /* mpx_event_t, in batch_pool */
    apr_size_t batch_bytes;
    apr_uint64_t batch_first; /* line number */
    apr_uint64_t lines, stored, accepted, duplicates, malformed, cut, unfinished;
    mpx_jsonw_t *reports; /* JSON array of the lines that were shown, or NULL */
} import_t;

static void on_signal(int number)
{
    ctl_import_stop = 1;
}

/* Without SA_RESTART: a read that waits for standard input must end, too. */
static void catch_signals(void)
{
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_handler = on_signal;
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
}

static void begin_batch(import_t *im)
{
    apr_pool_clear(im->batch_pool);
    im->events = apr_array_make(im->batch_pool, BATCH_EVENTS, sizeof(mpx_event_t));
    im->batch_bytes = 0;
}

/* Say what is the matter with a line, the first SHOWN of a kind. */
static void report(import_t *im, const ctl_lines_t *file, apr_uint64_t number, const char *kind, apr_uint64_t nth,
                   const char *what)
{
    if (nth > SHOWN && !im->show_all) {
        return;
    }
    ctl_progress_hide(&im->progress);
    ctl_note("%s:%" APR_UINT64_T_FMT ": %s: %s", ctl_lines_name(file), number, kind, what);
    if (im->reports) {
        mpx_jsonw_object(im->reports);
        mpx_jsonw_member_string(im->reports, "file", ctl_lines_name(file));
        mpx_jsonw_member_int(im->reports, "line", (apr_int64_t)number);
        mpx_jsonw_member_string(im->reports, "kind", kind);
        mpx_jsonw_member_string(im->reports, "detail", what);
        mpx_jsonw_end(im->reports);
    }
}

/* --- One line, one event ------------------------------------------------------------------------------------------ */

static const char *line_id(apr_pool_t *pool, const ctl_line_t *line)
{
    crypto_generichash_state state;
    unsigned char offset[8], digest[ID_BYTES];
    char *text = apr_palloc(pool, 2 * ID_BYTES + 1);
    int i;

    for (i = 0; i < 8; i++) {
        offset[i] = (unsigned char)(line->offset >> (56 - 8 * i));
    }
    crypto_generichash_init(&state, NULL, 0, ID_BYTES);
    crypto_generichash_update(&state, offset, sizeof offset);
    crypto_generichash_update(&state, (const unsigned char *)line->text, line->len);
    crypto_generichash_final(&state, digest, ID_BYTES);
    return sodium_bin2hex(text, 2 * ID_BYTES + 1, digest, ID_BYTES);
}

static const char *line_data(apr_pool_t *pool, const mpx_clf_line_t *clf, apr_size_t *len)
{
    mpx_jsonw_t *json = mpx_jsonw_make(pool);

    mpx_jsonw_object(json);
    mpx_jsonw_member_string(json, "method", clf->method);
    mpx_jsonw_member_string(json, "path", clf->path);
    mpx_jsonw_member_string(json, "protocol", clf->protocol);
    mpx_jsonw_member_int(json, "status", clf->status);
    mpx_jsonw_member_int(json, "bytes", clf->bytes);
    mpx_jsonw_member_string(json, "client", clf->client);
    mpx_jsonw_member_string(json, "referer", clf->referer);
    mpx_jsonw_member_string(json, "user_agent", clf->user_agent);
    if (clf->vhost) {
        mpx_jsonw_member_string(json, "vhost", clf->vhost);
    }
    if (clf->method == NULL) {
        mpx_jsonw_member_string(json, "request", clf->request);
    }
    mpx_jsonw_end(json);
    return mpx_jsonw_text(json, len);
}

/* Does an unfinished last line end where a line of the format ends? Then only its newline is missing. A size without one
 * after it may have lost digits. */
static int is_whole(const import_t *im, const ctl_line_t *line, const mpx_clf_line_t *clf)
{
    return im->format != MPX_CLF_COMMON && !clf->cut && line->len && line->text[line->len - 1] == '"';
}

/* Add a line to the batch, or count it as what it is instead. */
static void add_line(import_t *im, const ctl_lines_t *file, const ctl_line_t *line)
{
    mpx_clf_line_t clf;
    mpx_event_t *event;
    const char *wrong = line->too_long
        ? "longer than a line may be"
        : mpx_clf_parse(im->batch_pool, im->format, line->text, line->len, &clf);

    im->lines++;
    if (line->unfinished && !im->take_unfinished && (wrong || !is_whole(im, line, &clf))) {
        im->unfinished++;
        report(im, file, line->number, "unfinished", im->unfinished,
               "the file ends before the line does; left for the next time (--unfinished takes it as it is)");
        return;
    }
    if (wrong == NULL && clf.time > apr_time_now() + AHEAD) {
        wrong = "its time lies more than 24 h ahead";
    }
    if (wrong) {
        im->malformed++;
        report(im, file, line->number, "malformed", im->malformed, wrong);
        return;
    }
    if (clf.cut) {
        im->cut++;
        report(im, file, line->number, "cut", im->cut, "its last field has no closing quote; imported as far as it goes");
    }
    if (im->events->nelts == 0) {
        im->batch_first = line->number;
    }
    event = apr_array_push(im->events);
    memset(event, 0, sizeof *event);
    event->id = line_id(im->batch_pool, line);
    event->source = im->source;
    event->type = im->type;
    event->time = clf.time;
    event->occurrences = 1;
    event->data = line_data(im->batch_pool, &clf, &event->data_len);
    im->batch_bytes += line->len;
}

/* --- Batches ------------------------------------------------------------------------------------------------------ */

/* Store the batch. A database that went away is waited for: that a batch was stored although nothing said so does no
 * harm. */
static int store_batch(import_t *im, const ctl_lines_t *file)
{
    apr_time_t deadline = 0;
    usage_ingest_result_t result;
    mpx_call_t call;
    int said = 0;

    while (im->events->nelts) {
        ctl_call(im->ctl, &call, im->batch_pool, &im->tenant);
        if (ctl_import_store(&call, (mpx_event_t *)im->events->elts, im->events->nelts, &result) == APR_SUCCESS) {
            im->stored += (apr_uint64_t)im->events->nelts;
            im->accepted += (apr_uint64_t)result.accepted;
            im->duplicates += (apr_uint64_t)result.duplicates;
            break;
        }
        deadline = deadline ? deadline : apr_time_now() + AWAY_MAX;
        ctl_progress_hide(&im->progress);
        if (call.problem.code != MPX_P_UNAVAILABLE || ctl_import_stop || apr_time_now() > deadline) {
            ctl_fail_call(im->ctl, &call);
            return ctl_fail("%s: the lines from %" APR_UINT64_T_FMT
                            " on could not be stored; what came before them is; run the "
                            "same command again to go on",
                            ctl_lines_name(file), im->batch_first);
        }
        if (!said++) {
            ctl_note("the database is away; waiting for it, at most %d s", (int)apr_time_sec(AWAY_MAX));
        }
        apr_sleep(apr_time_from_msec(500));
    }
    begin_batch(im);
    return CTL_OK;
}

static int import_file(import_t *im, ctl_lines_t *file)
{
    apr_uint64_t before = im->progress.bytes;
    const char *error = NULL;
    ctl_line_t line;
    int more, rv = CTL_OK;

    while (rv == CTL_OK && (more = ctl_lines_next(file, &line, &error)) != 0) {
        if (more < 0) {
            rv = ctl_fail("%s cannot be read on: %s", ctl_lines_name(file), error);
            break;
        }
        add_line(im, file, &line);
        im->progress.bytes = before + line.offset + line.len;
        im->progress.lines = im->lines;
        if (im->events->nelts >= BATCH_EVENTS || im->batch_bytes >= BATCH_BYTES) {
            rv = store_batch(im, file);
        }
        ctl_progress_show(&im->progress);
    }
    if (rv == CTL_OK) {
        rv = store_batch(im, file);
    }
    if (rv == CTL_OK && ctl_import_stop) {
        ctl_progress_hide(&im->progress);
        rv = ctl_fail(
            "interrupted; what was read is stored. To go on, run the same command again: what is there already is not "
            "counted twice");
    }
    return rv;
}

/* --- The command -------------------------------------------------------------------------------------------------- */

static void summary_json(import_t *im)
{
    mpx_jsonw_t *json = mpx_jsonw_make(im->ctl->pool);
    apr_size_t len;
    const char *reports;

    mpx_jsonw_end(im->reports);
    reports = mpx_jsonw_text(im->reports, &len);
    mpx_jsonw_object(json);
    mpx_jsonw_member_int(json, "lines", (apr_int64_t)im->lines);
    mpx_jsonw_member_int(json, "events", (apr_int64_t)im->stored);
    mpx_jsonw_member_int(json, "new", (apr_int64_t)im->accepted);
    mpx_jsonw_member_int(json, "already_there", (apr_int64_t)im->duplicates);
    mpx_jsonw_member_int(json, "malformed", (apr_int64_t)im->malformed);
    mpx_jsonw_member_int(json, "cut", (apr_int64_t)im->cut);
    mpx_jsonw_member_int(json, "unfinished", (apr_int64_t)im->unfinished);
    mpx_jsonw_member_bool(json, "interrupted", ctl_import_stop);
    mpx_jsonw_member_raw(json, "reports", reports, len);
    mpx_jsonw_end(json);
    ctl_print_json(json);
}

static void more_note(const import_t *im, const char *kind, apr_uint64_t n)
{
    if (n > SHOWN && !im->show_all) {
        ctl_note("and %" APR_UINT64_T_FMT " more %s lines; --show-all shows each", n - SHOWN, kind);
    }
}

static void summary(import_t *im)
{
    ctl_progress_hide(&im->progress);
    more_note(im, "malformed", im->malformed);
    more_note(im, "cut", im->cut);
    if (im->reports) {
        summary_json(im);
        return;
    }
    printf("%" APR_UINT64_T_FMT " lines: %" APR_UINT64_T_FMT " events (%" APR_UINT64_T_FMT " new, %" APR_UINT64_T_FMT
           " already there), %" APR_UINT64_T_FMT " malformed, %" APR_UINT64_T_FMT " cut",
           im->lines, im->stored, im->accepted, im->duplicates, im->malformed, im->cut);
    if (im->unfinished) {
        printf(", %" APR_UINT64_T_FMT " unfinished", im->unfinished);
    }
    putchar('\n');
}

/* Look at all of them before anything is stored: a name that is wrong is said at once. A pipe is not opened, since what is
 * read from it once is gone. */
static int look_at_files(import_t *im, const apr_array_header_t *names)
{
    apr_uint64_t total = 0;
    int i, known = 1;

    for (i = 0; i < names->nelts; i++) {
        const char *name = APR_ARRAY_IDX(names, i, const char *), *error;
        struct stat st;
        ctl_lines_t *file;

        if (strcmp(name, "-") == 0 || (stat(name, &st) == 0 && !S_ISREG(st.st_mode) && !S_ISDIR(st.st_mode))) {
            known = 0;
            continue;
        }
        file = ctl_lines_open(im->ctl->pool, name, &error);
        if (file == NULL) {
            return ctl_fail("%s", error);
        }
        total += ctl_lines_size(file);
        ctl_lines_close(file);
    }
    ctl_progress_begin(&im->progress, known ? total : 0);
    return CTL_OK;
}

static int import_files(import_t *im, const apr_array_header_t *names)
{
    int rv = look_at_files(im, names), i;
    const char *error;

    if (rv != CTL_OK) {
        return rv;
    }
    apr_pool_create(&im->batch_pool, im->ctl->pool);
    begin_batch(im);
    catch_signals();
    for (i = 0; i < names->nelts && rv == CTL_OK; i++) {
        ctl_lines_t *file = ctl_lines_open(im->ctl->pool, APR_ARRAY_IDX(names, i, const char *), &error);
        if (file == NULL) {
            rv = ctl_fail("%s", error);
            break;
        }
        rv = import_file(im, file);
        ctl_lines_close(file);
    }
    summary(im);
    return rv == CTL_OK && im->strict && im->malformed ? CTL_FAILED : rv;
}

static int read_format(ctl_t *ctl, const char *text, mpx_clf_format_e *format)
{
    static const char *const names[] = { "common", "combined", "vhost_combined" };
    int i;

    for (i = 0; text && i < 3; i++) {
        if (strcmp(text, names[i]) == 0) {
            *format = (mpx_clf_format_e)i;
            return CTL_OK;
        }
    }
    return text ? ctl_usage(ctl, "--format takes common, combined or vhost_combined, not \"%s\"", text)
                : ctl_usage(ctl, "--format is needed: common, combined or vhost_combined");
}

static int check_attribute(ctl_t *ctl, const char *option, const char *value, apr_size_t max)
{
    apr_size_t len = strlen(value);
    const char *detail;
    return len == 0 || len > max || !mpx_json_utf8_valid(value, len) || mpx_check_line(value, len, &detail)
        ? ctl_usage(ctl, "--%s takes 1 to %d bytes of UTF-8 without control characters", option, (int)max)
        : CTL_OK;
}

/* @param name of --source, or NULL @param source what stands in the events */
static int read_source(ctl_t *ctl, const char *name, const char **source)
{
    *source = name ? apr_pstrcat(ctl->pool, SOURCE ":", name, NULL) : SOURCE;
    /* the whole source, copied out of an event, would be doubled and so make other events of the same lines */
    if (name && strncasecmp(name, MPX_EVENT_SOURCE_RESERVED, sizeof(MPX_EVENT_SOURCE_RESERVED) - 1) == 0) {
        return ctl_usage(ctl, "--source takes a name of your own, which is put behind " SOURCE ": by itself");
    }
    return name ? check_attribute(ctl, "source", name, SOURCE_MAX - (sizeof(SOURCE ":") - 1)) : CTL_OK;
}

int ctl_import(ctl_t *ctl, int argc, const char *const *argv)
{
    import_t im = { .ctl = ctl, .type = "http.request" };
    const char *format = NULL, *tenant = NULL, *name = NULL;
    const ctl_option_t options[] = {
        { "format", CTL_TEXT, &format },
        { "tenant", CTL_TEXT, &tenant },
        { "source", CTL_TEXT, &name },
        { "type", CTL_TEXT, &im.type },
        { "strict", CTL_FLAG, &im.strict },
        { "show-all", CTL_FLAG, &im.show_all },
        { "unfinished", CTL_FLAG, &im.take_unfinished },
        { NULL, CTL_FLAG, NULL },
    };
    apr_array_header_t *names;
    int rv = ctl_options(ctl, options, argc, argv, 1, -1, &names);

    if (rv == CTL_OK && tenant == NULL) {
        rv = ctl_usage(ctl, "--tenant is needed");
    }
    if (rv != CTL_OK || (rv = read_format(ctl, format, &im.format)) != CTL_OK
        || (rv = read_source(ctl, name, &im.source)) != CTL_OK
        || (rv = check_attribute(ctl, "type", im.type, 128)) != CTL_OK || (rv = ctl_connect_to_work(ctl)) != CTL_OK
        || (rv = ctl_tenant(ctl, tenant, &im.tenant)) != CTL_OK) {
        return rv;
    }
    if (ctl->json) {
        im.reports = mpx_jsonw_make(ctl->pool);
        mpx_jsonw_array(im.reports);
    }
    return import_files(&im, names);
}
