/* usage_capture.c: MeterplexMeter TYPE [value=EXPR] [subject=EXPR] [prop=NAME:EXPR]... [when=EXPR].
 *
 * A request is counted once, when its answer ends, whatever it became on the way (internal redirect, error document,
 * subrequests). Counted is what was let through: a request that a credential check, a
 * limit or a quota has refused never reached what is sold.
 */
#include "usage_capture.h"

#include "apr_lib.h"
#include "apr_strings.h"
#include "http_core.h"
#include "http_protocol.h"
#include "http_log.h"
#include "http_request.h"

APLOG_USE_MODULE(meterplex_usage);

#define PROPS_MAX 16
#define TEXT_MAX 256     /* bytes of a subject or property; more is cut */
#define STEP 131072      /* bytes of an answer that are sent at a time where bytes are counted */
#define BAD_VALUE_MAX 32 /* of a value that is no number: enough to see what it is */
#define COUNTERS_DEFAULT (64u * 1024 * 1024)

/* What is to be counted of a request; request->usage. */
typedef struct capture_state {
    apr_array_header_t *meters; /* capture_meter_t * */
    int counted, by_bytes;
    apr_off_t unsent; /* bytes of the answer that the client did not take */
} capture_state_t;

static apr_size_t counters_size = COUNTERS_DEFAULT;
static mpx_metric_t metric_unattributed, metric_cut;
static ap_filter_rec_t *count_filter;

void *usage_capture_create_dir_config(apr_pool_t *pool, char *path)
{
    return apr_pcalloc(pool, sizeof(capture_dir_t));
}

void *usage_capture_merge_dir_config(apr_pool_t *pool, void *base, void *add)
{
    const capture_dir_t *b = base, *a = add;
    capture_dir_t *dir = apr_pmemdup(pool, a, sizeof *a);

    if (a->none) {
        return dir;
    }
    if (b->meters) {
        dir->meters = a->meters ? apr_array_append(pool, b->meters, a->meters) : b->meters;
    }
    dir->none = b->none; /* sections are merged with one another first, and with the server's lines then */
    return dir;
}

/* --- Directives ------------------------------------------------------------------------------------------------------------- */

static const char *parse_expr(cmd_parms *cmd, capture_meter_t *meter, const char *text, int boolean, ap_expr_info_t **out)
{
    const char *error = *text == '\0' ? "an expression is missing" : *out ? "an option is given twice"
                                                                          : NULL;

    if (error) {
        return apr_psprintf(cmd->pool, "MeterplexMeter %s: %s: \"%s\"", meter->type, error, text);
    }
    meter->by_bytes |= ap_strcasestr(text, "METERPLEX_BYTES_SENT") != NULL;
    *out = ap_expr_parse_cmd(cmd, text, boolean ? 0 : AP_EXPR_FLAG_STRING_RESULT, &error, NULL);
    return error ? apr_psprintf(cmd->pool, "MeterplexMeter: \"%s\": %s", text, error) : NULL;
}

static const char *parse_prop(cmd_parms *cmd, const char *text, capture_meter_t *meter)
{
    const char *colon = strchr(text, ':'), *c;
    capture_prop_t *prop;
    int i;

    for (c = text; colon && c < colon && (apr_isalnum(*c) || *c == '_'); c++) {
    }
    if (colon == NULL || c != colon || colon == text || colon - text > 64) {
        return apr_psprintf(cmd->pool, "MeterplexMeter prop=%s: NAME:EXPR, NAME of letters, digits and _ (64 at most)",
                            text);
    }
    if (meter->props == NULL) {
        meter->props = apr_array_make(cmd->pool, 4, sizeof(capture_prop_t));
    }
    if (meter->props->nelts == PROPS_MAX) {
        return apr_psprintf(cmd->pool, "MeterplexMeter %s: at most %d props", meter->type, PROPS_MAX);
    }
    prop = apr_array_push(meter->props);
    prop->name = apr_pstrmemdup(cmd->pool, text, (apr_size_t)(colon - text));
    if (strcmp(prop->name, "value") == 0) {
        return "MeterplexMeter: prop=value: the name is taken by value=EXPR";
    }
    for (i = 0; i < meter->props->nelts - 1; i++) {
        if (strcmp(APR_ARRAY_IDX(meter->props, i, capture_prop_t).name, prop->name) == 0) {
            return apr_psprintf(cmd->pool, "MeterplexMeter %s: prop=%s is given twice", meter->type, prop->name);
        }
    }
    return parse_expr(cmd, meter, colon + 1, 0, &prop->value);
}

static const char *parse_option(cmd_parms *cmd, const char *word, capture_meter_t *meter)
{
    if (strncmp(word, "value=", 6) == 0) {
        return parse_expr(cmd, meter, word + 6, 0, &meter->value);
    }
    if (strncmp(word, "subject=", 8) == 0) {
        return parse_expr(cmd, meter, word + 8, 0, &meter->subject);
    }
    if (strncmp(word, "when=", 5) == 0) {
        return parse_expr(cmd, meter, word + 5, 1, &meter->when);
    }
    if (strncmp(word, "prop=", 5) == 0) {
        return parse_prop(cmd, word + 5, meter);
    }
    return apr_psprintf(cmd->pool, "MeterplexMeter: \"%s\"; allowed are value=EXPR, subject=EXPR, prop=NAME:EXPR and "
                                   "when=EXPR",
                        word);
}

static const char *set_meter(cmd_parms *cmd, void *config, int argc, char *const argv[])
{
    capture_dir_t *dir = config;
    capture_meter_t *meter;
    const char *error = NULL, *c;
    int i;

    if (argc == 1 && ap_cstr_casecmp(argv[0], "none") == 0) {
        dir->none = 1;
        return NULL;
    }
    if (argc < 1) {
        return "MeterplexMeter takes: TYPE [value=EXPR] [subject=EXPR] [prop=NAME:EXPR]... [when=EXPR], or none";
    }
    for (c = argv[0]; apr_isalnum(*c) || (*c && strchr("._-/:", *c)); c++) {
    }
    if (*c || c == argv[0] || c - argv[0] > 128) {
        return apr_psprintf(cmd->pool,
                            "MeterplexMeter %s: an event type is 1 to 128 of letters, digits and . _ - / :", argv[0]);
    }
    meter = apr_pcalloc(cmd->pool, sizeof *meter);
    meter->type = argv[0];
    for (i = 1; i < argc && error == NULL; i++) {
        error = parse_option(cmd, argv[i], meter);
    }
    if (error) {
        return error;
    }
    if (dir->meters == NULL) {
        dir->meters = apr_array_make(cmd->pool, 2, sizeof(capture_meter_t *));
    }
    APR_ARRAY_PUSH(dir->meters, capture_meter_t *) = meter;
    return NULL;
}

static const char *set_counters(cmd_parms *cmd, void *config, const char *text)
{
    const char *error = ap_check_cmd_context(cmd, GLOBAL_ONLY);
    char *end;
    apr_int64_t n;

    if (error) {
        return error;
    }
    n = apr_strtoi64(text, &end, 10);
    if (!apr_isdigit(*text) || (apr_toupper(*end) != 'M') || end[1] || n < 1 || n > 65536) {
        return apr_psprintf(cmd->pool, "MeterplexCounters: \"%s\"; allowed are 1M to 65536M", text);
    }
    counters_size = (apr_size_t)n << 20;
    return NULL;
}

const command_rec usage_capture_directives[] = {
    AP_INIT_TAKE_ARGV("MeterplexMeter", set_meter, NULL, RSRC_CONF | ACCESS_CONF,
                      "TYPE [value=EXPR] [subject=EXPR] [prop=NAME:EXPR]... [when=EXPR]: finished requests are usage; none: "
                      "inherited ones are off here"),
    AP_INIT_TAKE1("MeterplexCounters", set_counters, NULL, RSRC_CONF,
                  "size of the counter file in the state directory (64M): a KiB for each record of a minute"),
    { NULL }
};

/* --- The request ------------------------------------------------------------------------------------------------------------- */

static capture_dir_t *dir_of(request_rec *r)
{
    return ap_get_module_config(r->per_dir_config, &meterplex_usage_module);
}

static int contains(const apr_array_header_t *meters, const capture_meter_t *meter)
{
    int i;
    for (i = 0; i < meters->nelts && APR_ARRAY_IDX(meters, i, const capture_meter_t *) != meter; i++) {
    }
    return i < meters->nelts;
}

/* After the limits, and before any other module's fixups: one of those may end the request with a redirect or an error,
 * which is an answer as any other. Once more behind them all, since mod_dir may have chosen a page with lines of its own.
 * What an internal redirect leads to adds its meters, too; each counts once. */
static int capture_fixups(request_rec *r)
{
    const capture_dir_t *dir;
    mpx_request_t *request;
    capture_state_t *state;
    int i;

    if (mpx_request_is_part(r) || (dir = dir_of(r))->meters == NULL) {
        return DECLINED;
    }
    request = mpx_request_get(r);
    state = request->usage;
    if (state == NULL) {
        request->usage = state = apr_pcalloc(request->call.pool, sizeof *state);
        state->meters = apr_array_make(request->call.pool, dir->meters->nelts, sizeof(capture_meter_t *));
    }
    for (i = 0; i < dir->meters->nelts; i++) {
        capture_meter_t *meter = APR_ARRAY_IDX(dir->meters, i, capture_meter_t *);
        if (!contains(state->meters, meter)) {
            APR_ARRAY_PUSH(state->meters, capture_meter_t *) = meter;
            state->by_bytes |= meter->by_bytes;
        }
    }
    return DECLINED;
}

/* At most max bytes of a text, cut before a character that would be torn. */
static const char *cut(apr_pool_t *pool, const char *text, apr_size_t max)
{
    apr_size_t len = strlen(text);

    if (len <= max) {
        return text;
    }
    for (len = max; len > 0 && ((unsigned char)text[len] & 0xc0) == 0x80; len--) {
    }
    return apr_pstrmemdup(pool, text, len);
}

/* An expression's text, cut at TEXT_MAX; NULL when it fails or is empty. */
static const char *text_of(request_rec *r, ap_expr_info_t *expr)
{
    const char *error = NULL, *text = ap_expr_str_exec(r, expr, &error);

    if (error) {
        ap_log_rerror(APLOG_MARK, APLOG_DEBUG, 0, r, "MeterplexMeter: %s", error);
        return NULL;
    }
    return text && *text ? cut(r->pool, text, TEXT_MAX) : NULL;
}

/* A subject is one line of UTF-8, as the API asks of it; what is not becomes '?'. */
static const char *clean_subject(apr_pool_t *pool, const char *text)
{
    char *copy, *c;
    int valid;

    if (text == NULL) {
        return NULL;
    }
    valid = mpx_json_utf8_valid(text, strlen(text));
    copy = apr_pstrdup(pool, text);
    for (c = copy; *c; c++) {
        if (apr_iscntrl(*c) || (!valid && (unsigned char)*c > 0x7e)) {
            *c = '?';
        }
    }
    return copy;
}

/* A number is written as it stands, anything else as a string: a meter then counts it as invalid. */
static const char *value_member(request_rec *r, const char *text)
{
    mpx_jsonw_t *w = mpx_jsonw_make(r->pool);
    mpx_decimal_t decimal;
    char canonical[MPX_DECIMAL_TEXT];

    mpx_jsonw_object(w);
    mpx_jsonw_key(w, "value");
    if (text && mpx_decimal_parse(text, strlen(text), &decimal) == MPX_DECIMAL_OK) {
        mpx_decimal_format(&decimal, canonical);
        mpx_jsonw_raw(w, canonical, strlen(canonical));
    }
    else {
        if (text && strlen(text) > BAD_VALUE_MAX) { /* what is cut must not look like another number */
            text = apr_pstrcat(r->pool, cut(r->pool, text, BAD_VALUE_MAX - 3), "...", NULL);
        }
        mpx_jsonw_string(w, text);
    }
    mpx_jsonw_end(w);
    return mpx_jsonw_text(w, NULL);
}

/* {"name":"text"} in at most room bytes: a text that is too long for it, with its escapes, is cut.
 * @return NULL when not even an empty text fits */
static const char *prop_member(request_rec *r, const char *name, const char *text, apr_size_t room)
{
    int tries;

    for (tries = 0;; tries++) {
        mpx_jsonw_t *w = mpx_jsonw_make(r->pool);
        const char *member;
        apr_size_t len, excess;

        mpx_jsonw_object(w);
        mpx_jsonw_member_string(w, name, text);
        mpx_jsonw_end(w);
        member = mpx_jsonw_text(w, &len);
        if (len <= room) {
            return member;
        }
        mpx_metric_add(metric_cut, tries == 0);
        if (text == NULL || *text == '\0') {
            return NULL;
        }
        excess = (len - room + 5) / 6; /* a byte takes six at the most */
        text = cut(r->pool, text, excess < strlen(text) ? strlen(text) - excess : 0);
    }
}

/* The value, whole, and of the properties what there is room for.
 * @param room  bytes that the counter's record has for it */
static const char *data_of(request_rec *r, const capture_meter_t *meter, apr_size_t room)
{
    char *data = NULL; /* an object without its closing brace */
    int i;

    if (meter->value == NULL && meter->props == NULL) {
        return NULL;
    }
    if (meter->value) {
        const char *member = value_member(r, text_of(r, meter->value));
        data = apr_pstrmemdup(r->pool, member, strlen(member) - 1);
    }
    for (i = 0; meter->props && i < meter->props->nelts; i++) {
        const capture_prop_t *prop = &APR_ARRAY_IDX(meter->props, i, capture_prop_t);
        apr_size_t used = data ? strlen(data) : 0;
        const char *member = room > used ? prop_member(r, prop->name, text_of(r, prop->value), room - used) : NULL;
        if (member) {
            data = apr_pstrcat(r->pool, data ? data : "{", data ? "," : "",
                               apr_pstrmemdup(r->pool, member + 1, strlen(member) - 2), NULL);
        }
    }
    return apr_pstrcat(r->pool, data ? data : "{", "}", NULL);
}

static void capture_one(request_rec *r, mpx_request_t *request, const capture_meter_t *meter)
{
    const char *subject, *error = NULL;

    if (meter->when && ap_expr_exec(r, meter->when, &error) != 1) {
        return;
    }
    subject = meter->subject ? clean_subject(r->pool, text_of(r, meter->subject)) : NULL;
    usage_counters_add(&request->principal->tenant, meter->type, subject,
                       data_of(r, meter, usage_counters_room(meter->type, subject)));
}

/* @param last what the client gets: after an internal redirect or an error document, another than the first */
static void capture(mpx_request_t *request, capture_state_t *state, request_rec *last)
{
    int i;

    state->counted = 1;
    if (last->status == HTTP_SWITCHING_PROTOCOLS && last->connection->master == NULL
        && strcmp(ap_get_protocol(last->connection), "http/1.1") != 0) {
        return; /* to HTTP/2, where the same request comes again as the first stream; a backend's own 101 is an answer */
    }
    if (request->principal == NULL) {
        mpx_metric_add(metric_unattributed, 1);
        return;
    }
    if (request->admission > 0) {
        return; /* refused after the meters were known: by a limit of the page that mod_dir chose, by a route of the API */
    }
    for (i = 0; i < state->meters->nelts; i++) {
        capture_one(last, request, APR_ARRAY_IDX(state->meters, i, const capture_meter_t *));
    }
}

static int ends_answer(const apr_bucket_brigade *bb)
{
    const apr_bucket *b;

    for (b = APR_BRIGADE_LAST(bb); b != APR_BRIGADE_SENTINEL(bb) && APR_BUCKET_IS_METADATA(b); b = APR_BUCKET_PREV(b)) {
        if (APR_BUCKET_IS_EOS(b)) {
            return 1;
        }
    }
    return 0;
}

/* A file comes as one bucket with the end behind it: whoever is billed by bytes would pay for all of it before any is
 * sent. So all but the last step is sent first, each step written before the next, by this thread.
 * @return what the next filter says, or APR_ECONNABORTED; *left then is what the client did not take */
static apr_status_t send_in_steps(ap_filter_t *f, apr_bucket_brigade *bb, apr_off_t *left)
{
    apr_status_t rv = apr_brigade_length(bb, 0, left);

    while (rv == APR_SUCCESS && *left > STEP) { /* below 0: not known, and then not all there */
        apr_bucket *after;
        apr_bucket_brigade *rest;

        rv = apr_brigade_partition(bb, STEP, &after);
        if (rv != APR_SUCCESS) {
            return rv;
        }
        rest = apr_brigade_split(bb, after);
        APR_BRIGADE_INSERT_TAIL(bb, apr_bucket_flush_create(f->c->bucket_alloc));
        rv = ap_pass_brigade(f->next, bb);
        apr_brigade_cleanup(bb);
        APR_BRIGADE_CONCAT(bb, rest);
        rv = rv == APR_SUCCESS && f->c->aborted ? APR_ECONNABORTED : rv;
        *left -= rv == APR_SUCCESS ? STEP : 0;
    }
    return rv;
}

/* Counts when the end of the answer passes on its way out, just before the client can have all of it: whoever got an answer
 * is counted, even if the process is killed in the next instant. Behind the filters that know status and length. */
static apr_status_t capture_filter(ap_filter_t *f, apr_bucket_brigade *bb)
{
    mpx_request_t *request = mpx_request_get(f->r);
    capture_state_t *state = request->usage;
    apr_status_t rv = APR_SUCCESS;

    if (!APR_BRIGADE_EMPTY(bb) && ends_answer(bb)) {
        ap_remove_output_filter(f);
        if (!state->counted) {
            apr_off_t left = 0;
            rv = state->by_bytes ? send_in_steps(f, bb, &left) : APR_SUCCESS;
            state->unsent = rv == APR_SUCCESS ? 0 : left;
            capture(request, state, f->r);
        }
    }
    return rv == APR_SUCCESS ? ap_pass_brigade(f->next, bb) : rv;
}

static void capture_insert_filter(request_rec *r)
{
    if (r->main == NULL && mpx_request_get(r)->usage) {
        ap_add_output_filter_handle(count_filter, NULL, r, r->connection);
    }
}

/* What ended without an answer that went its whole way. */
static int capture_log_transaction(request_rec *first)
{
    mpx_request_t *request = mpx_request_get(first);
    capture_state_t *state = request->usage;
    request_rec *last = first;

    while (last->next) {
        last = last->next;
    }
    if (state && !state->counted) {
        capture(request, state, last);
    }
    return DECLINED;
}

/* --- Expression variables ------------------------------------------------------------------------------------------------------- */

static apr_off_t bytes_of(const request_rec *r, const capture_state_t *state)
{
    apr_off_t unsent = state ? state->unsent : 0;
    if (r->header_only) {
        return 0; /* counted before the header filter drops the body */
    }
    return r->bytes_sent > unsent ? r->bytes_sent - unsent : 0;
}

static const char *variable(ap_expr_eval_ctx_t *ctx, const void *data)
{
    request_rec *r = ctx->r;
    const char *name = data;
    const mpx_principal_t *principal;
    mpx_request_t *request;

    if (r == NULL) {
        return "";
    }
    request = mpx_request_get(r);
    switch (name[0]) {
    case 'B': return apr_off_t_toa(ctx->p, bytes_of(r, request->usage));
    case 'D': return apr_ltoa(ctx->p, (long)apr_time_as_msec(apr_time_now() - request->call.now));
    case 'R': return request->id;
    case 'K': return (principal = mpx_request_known(r)) ? mpx_principal_text(ctx->p, principal) : "";
    case 'T': return (principal = mpx_request_known(r)) ? mpx_typeid_format(ctx->p, "ten", &principal->tenant) : "";
    default: return "";
    }
}

/* %{METERPLEX_BYTES_SENT} and its like, wherever httpd takes an expression. */
static int variable_lookup(ap_expr_lookup_parms *parms)
{
    static const char prefix[] = "METERPLEX_";
    static const char *const names[] = { "BYTES_SENT", "DURATION_MS", "REQUEST_ID", "KEY_ID", "TENANT_ID" };
    apr_size_t i;

    if (parms->type != AP_EXPR_FUNC_VAR || ap_cstr_casecmpn(parms->name, prefix, sizeof prefix - 1) != 0) {
        return DECLINED;
    }
    for (i = 0; i < sizeof names / sizeof *names; i++) {
        if (ap_cstr_casecmp(parms->name + sizeof prefix - 1, names[i]) == 0) {
            *parms->func = variable;
            *parms->data = names[i];
            return OK;
        }
    }
    return DECLINED;
}

int usage_capture_open(apr_pool_t *pconf, server_rec *s)
{
    metric_unattributed =
        mpx_metric_counter("meterplex_usage_unattributed_total",
                           "Requests to metered locations that name no tenant and so are nobody's usage.", NULL);
    metric_cut = mpx_metric_counter("meterplex_usage_cut_total",
                                    "Times that a property of MeterplexMeter was cut or left out for want of room.", NULL);
    return usage_counters_open(pconf, s, counters_size);
}

void usage_capture_register_hooks(apr_pool_t *pool)
{
    static const char *const after_limits[] = { "core.c", "mod_meterplex_limit.c", NULL },
                             *const after_dir[] = { "mod_dir.c", "mod_meterplex_limit.c", NULL };

    counters_size = COUNTERS_DEFAULT;
    ap_hook_fixups(capture_fixups, after_limits, NULL, APR_HOOK_REALLY_FIRST);
    ap_hook_fixups(capture_fixups, after_dir, NULL, APR_HOOK_REALLY_LAST);
    count_filter = ap_register_output_filter("METERPLEX_METER", capture_filter, NULL, AP_FTYPE_CONNECTION - 1);
    ap_hook_insert_filter(capture_insert_filter, NULL, NULL, APR_HOOK_LAST);
    ap_hook_insert_error_filter(capture_insert_filter, NULL, NULL, APR_HOOK_LAST);
    ap_hook_log_transaction(capture_log_transaction, NULL, NULL, APR_HOOK_MIDDLE);
    ap_hook_expr_lookup(variable_lookup, NULL, NULL, APR_HOOK_MIDDLE);
}
