//! A body that is described in `/openapi.json` but read only after the checks that do not need it.

use std::marker::PhantomData;

use bytes::Bytes;
use poem::{Body, Request, RequestBody};
use poem_openapi::{
    ApiExtractor, ApiExtractorType, ExtractParamOptions,
    payload::Payload,
    registry::{MetaMediaType, MetaRequest, Registry},
};

use crate::http::{
    body::{self, bounds::Bounds},
    error::ApiError,
};

/// An unread body, documented as a `P`.
pub(crate) struct DeferredBody<P> {
    body: Body,
    kind: PhantomData<fn() -> P>,
}

impl<P> DeferredBody<P> {
    /// Reads the body. It is not parsed.
    pub(crate) async fn read(self, request: &Request, bounds: Bounds) -> Result<Bytes, ApiError> {
        Ok(body::read_from_network(request, self.body, bounds).await?.bytes)
    }
}

impl<'a, P: Payload> ApiExtractor<'a> for DeferredBody<P> {
    const TYPES: &'static [ApiExtractorType] = &[ApiExtractorType::RequestObject];

    type ParamType = ();
    type ParamRawType = ();

    fn register(registry: &mut Registry) {
        P::register(registry);
    }

    fn request_meta() -> Option<MetaRequest> {
        Some(MetaRequest {
            description: None,
            content: vec![MetaMediaType { content_type: P::CONTENT_TYPE, schema: P::schema_ref() }],
            required: true,
        })
    }

    async fn from_request(
        _request: &'a Request,
        body: &mut RequestBody,
        _options: ExtractParamOptions<()>,
    ) -> poem::Result<Self> {
        Ok(Self { body: body.take()?, kind: PhantomData })
    }
}
