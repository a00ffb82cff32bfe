//! Endpoints for programs other than `/mcp`: those in `/openapi.json`, the metrics, and downloads
//! of files.

pub(crate) mod downloads;
pub(crate) mod metrics;
mod probes;
mod well_known;

use poem_openapi::{ExtraHeader, LicenseObject, OpenApiService};

use crate::{
    instance::Instance,
    oauth::{metadata::Metadata, register::Register, revoke::Revoke, token::Token},
};

/// The endpoints that `/openapi.json` describes.
pub(crate) type Api = (well_known::WellKnown, Metadata, Register, Token, Revoke, probes::Probes);

/// The endpoints of one instance with their OpenAPI document.
pub(crate) fn app(instance: &Instance) -> OpenApiService<Api, ()> {
    let apis = (
        well_known::WellKnown::new(instance),
        Metadata::new(instance),
        Register::new(instance),
        Token::new(instance),
        Revoke::new(instance),
        probes::Probes::new(instance),
    );
    let brand = instance.app.product().brand();
    let license = LicenseObject::new("MIT OR Apache-2.0");
    OpenApiService::new(apis, brand.program, brand.version)
        .description(DESCRIPTION)
        .license(license)
        .extra_response_header::<String, _>(
            ExtraHeader::new("X-Request-Id").description(
                "Finds this request in the log. Taken from the request if it has one.",
            ),
        )
}

const DESCRIPTION: &str = "The HTTP endpoints around the MCP endpoint. `/mcp` itself speaks the \
Model Context Protocol (Streamable HTTP, revisions 2025-03-26 to 2026-07-28), which describes its \
own tools, resources and prompts.";
