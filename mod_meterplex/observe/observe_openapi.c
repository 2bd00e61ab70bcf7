/* observe_openapi.c: GET /v1/openapi.json, the description of every route, read once when the server starts. */
#include "observe_private.h"

#include "apr_file_io.h"
#include "apr_strings.h"

#define DOCUMENT_MAX (4 * 1024 * 1024)

static const char *path;
static char *document;
static apr_size_t document_len;

void observe_openapi_reset(void)
{
    path = METERPLEX_DATADIR "/htdocs/openapi.json";
    document = NULL;
}

static const char *set_path(cmd_parms *cmd, void *config, const char *text)
{
    const char *error = ap_check_cmd_context(cmd, GLOBAL_ONLY);
    if (error) {
        return error;
    }
    path = ap_server_root_relative(cmd->pool, text);
    return path ? NULL : apr_psprintf(cmd->pool, "MeterplexOpenAPI: \"%s\" is not a path", text);
}

const command_rec observe_directives[] = {
    AP_INIT_TAKE1("MeterplexOpenAPI", set_path, NULL, RSRC_CONF, "file with the OpenAPI document of the API"),
    { NULL }
};

int observe_openapi_open(apr_pool_t *pconf, server_rec *s)
{
    apr_file_t *file;
    apr_finfo_t info;
    apr_status_t rv = apr_file_open(&file, path, APR_FOPEN_READ, APR_FPROT_OS_DEFAULT, pconf);

    if (rv == APR_SUCCESS) {
        rv = apr_file_info_get(&info, APR_FINFO_SIZE, file);
    }
    if (rv == APR_SUCCESS && info.size > 0 && info.size <= DOCUMENT_MAX) {
        document_len = (apr_size_t)info.size;
        document = apr_palloc(pconf, document_len);
        rv = apr_file_read_full(file, document, document_len, NULL);
        apr_file_close(file);
    }
    if (rv != APR_SUCCESS || document == NULL) {
        /* A missing document does not stop a server that sells: the route then says 404. */
        ap_log_error(APLOG_MARK, APLOG_WARNING, rv, s, "the OpenAPI document %s cannot be read (MeterplexOpenAPI)", path);
        document = NULL;
    }
    return OK;
}

apr_status_t observe_get_openapi(mpx_http_t *http)
{
    if (document == NULL) {
        return mpx_fail(http->call, MPX_P_NOT_FOUND, "This server has no OpenAPI document.");
    }
    return mpx_reply_text(http, HTTP_OK, "application/json", document, document_len);
}
