//! All routes on one screen, and what every request passes through.

use crate::app::AppState;
use crate::commands;
use crate::error::{Code, Error, Problem};
use crate::gateway;
use crate::http::layers;
use crate::live;
use crate::{
    agent_logs, agents, alerts, audit_log, connections, dashboard, enrollment, follow, install, nodes,
    overview, policies, recordings, setup, sign_in, system, telemetry, tenancy, tunnel, updates, users,
    watchdog,
};
use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::middleware;
use tower_http::catch_panic::CatchPanicLayer;
use utoipa::OpenApi;
use utoipa::openapi::{ContentBuilder, RefOr, Response, ResponseBuilder};
use utoipa_axum::router::OpenApiRouter;
use utoipa_swagger_ui::SwaggerUi;

/// Largest request body, in bytes.
const MAX_BODY_BYTES: usize = 1024 * 1024;

#[derive(OpenApi)]
#[openapi(
    info(title = "GuruRMM", description = "The API of GuruRMM's server. Errors are problem+json with a stable `code`."),
    components(schemas(Problem)),
    modifiers(&SecuritySchemes),
    security(("bearer" = []), ("cookie" = []))
)]
struct ApiDoc;

/// Every route of the API with its documentation. A new slice adds its line here.
fn api() -> OpenApiRouter<AppState> {
    OpenApiRouter::with_openapi(ApiDoc::openapi())
        .merge(audit_log::http::routes())
        .merge(setup::http::routes())
        .merge(commands::http::routes())
        .merge(gateway::http::routes())
        .merge(live::http::routes())
        .merge(sign_in::http::routes())
        .merge(telemetry::http::routes())
        .merge(tenancy::http::routes())
        .merge(users::http::routes())
        .merge(enrollment::http::routes())
        .merge(install::http::routes())
        .merge(agent_logs::http::routes())
        .merge(connections::http::routes())
        .merge(agents::http::routes())
        .merge(alerts::http::routes())
        .merge(policies::http::routes())
        .merge(tunnel::http::routes())
        .merge(overview::http::routes())
        .merge(system::http::routes())
        .merge(nodes::http::routes())
        .merge(updates::http::routes())
        .merge(follow::http::routes())
        .merge(recordings::http::routes())
        .merge(watchdog::http::routes())
}

/// The whole server as one service.
pub fn router(app: AppState) -> Router {
    let (router, _document) = api().split_for_parts();
    router
        .merge(SwaggerUi::new("/api/docs").url("/api/openapi.json", openapi()))
        .fallback(dashboard::serve)
        .method_not_allowed_fallback(|| async { Error::new(Code::MethodNotAllowed) })
        .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
        .layer(CatchPanicLayer::custom(layers::panicked))
        .layer(middleware::from_fn_with_state(app.clone(), layers::security_headers))
        .layer(middleware::from_fn_with_state(app.clone(), layers::request_context))
        .with_state(app)
}

/// The OpenAPI document. Every operation names the problems any operation can answer with.
pub fn openapi() -> utoipa::openapi::OpenApi {
    let (_router, mut document) = api().split_for_parts();
    for item in document.paths.paths.values_mut() {
        let operations = [
            &mut item.get,
            &mut item.post,
            &mut item.put,
            &mut item.patch,
            &mut item.delete,
            &mut item.head,
            &mut item.options,
            &mut item.trace,
        ];
        for operation in operations.into_iter().flatten() {
            for (status, description) in COMMON_PROBLEMS {
                operation
                    .responses
                    .responses
                    .entry((*status).to_owned())
                    .or_insert_with(|| RefOr::T(problem_response(description)));
            }
        }
    }
    document
}

const COMMON_PROBLEMS: &[(&str, &str)] = &[
    ("400", "The request could not be read"),
    ("401", "Not signed in, or the credential was refused"),
    ("403", "Not allowed"),
    ("404", "Not found, or not visible to the caller"),
    ("405", "This method is not offered here"),
    ("409", "The state of things does not allow it"),
    ("413", "The request is too large"),
    ("415", "Send JSON"),
    ("422", "Some fields are not valid"),
    ("429", "Too many requests"),
    ("500", "Something went wrong on the server"),
    ("503", "The server is busy"),
];

fn problem_response(description: &str) -> Response {
    let schema = utoipa::openapi::Ref::from_schema_name("Problem");
    ResponseBuilder::new()
        .description(description)
        .content("application/problem+json", ContentBuilder::new().schema(Some(schema)).build())
        .build()
}

struct SecuritySchemes;

impl utoipa::Modify for SecuritySchemes {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        use utoipa::openapi::security::{ApiKey, ApiKeyValue, Http, HttpAuthScheme, SecurityScheme};
        let components = document.components.get_or_insert_default();
        components.add_security_scheme("bearer", SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer)));
        let cookie =
            ApiKeyValue::with_description("gururmm_session", "With X-CSRF-Token for anything that changes");
        components.add_security_scheme("cookie", SecurityScheme::ApiKey(ApiKey::Cookie(cookie)));
    }
}
