//! DPoP proofs of token requests (RFC 9449, section 5).

use http::Method;
use oauth::{
    client::Client,
    dpop::{ProofError, ProofTarget, ProvenKey},
    limits,
};

use super::{
    error::{ErrorCode, invalid, unavailable},
    form_request::FormRequest,
};
use crate::http::{
    dpop::{nonce_header, proof},
    error::{ApiError, ErrorHeader},
    rate_limit,
};

/// The path of the token endpoint.
const PATH: &str = "/token";

/// Checks the proof of a token request. `Ok(None)`: it has none, and the server requires none, or DPoP is
/// off.
pub(super) async fn proven_key(request: &FormRequest<'_>) -> Result<Option<ProvenKey>, ApiError> {
    let dpop = request.app.oauth().dpop();
    if !dpop.mode().is_on() {
        return Ok(None);
    }
    let Some(proof) = proof(request.http.headers()).map_err(proof_error)? else {
        return if dpop.mode().is_required() {
            Err(proof_missing(
                "This server issues only tokens that are bound to a key. Send a proof of the key in \
                 the DPoP header (RFC 9449).",
            ))
        } else {
            Ok(None)
        };
    };
    // Every valid proof is recorded, before the client is known.
    let network = rate_limit::network(request.app, request.http);
    rate_limit::take(request.app, &limits::TOKEN_PROOFS, &network).await?;
    let target = ProofTarget { method: Method::POST.as_str(), path: PATH, token: None };
    dpop.check(proof, target).await.map(Some).map_err(proof_error)
}

/// Checks that the request of a client which gets only bound tokens has a proof.
pub(super) fn require_proof(client: &Client, proven: Option<&ProvenKey>) -> Result<(), ApiError> {
    if client.dpop_bound && proven.is_none() {
        return Err(proof_missing(
            "The client registered with dpop_bound_access_tokens. Send a proof of its key in the DPoP \
             header (RFC 9449).",
        ));
    }
    Ok(())
}

/// The error of a request whose code or refresh token is bound to a key, without a proof.
pub(super) fn bound_without_proof(request: &FormRequest<'_>) -> ApiError {
    if request.app.oauth().dpop().mode().is_on() {
        return proof_missing(
            "This code or refresh token is bound to a key. Send a proof of the key in the DPoP \
             header (RFC 9449).",
        );
    }
    invalid(
        ErrorCode::InvalidGrant,
        "The code or refresh token is bound to a key, and this server no longer supports DPoP. Start \
         the sign-in again.",
    )
}

fn proof_missing(description: &'static str) -> ApiError {
    invalid(ErrorCode::InvalidDpopProof, description)
}

fn proof_error(error: ProofError) -> ApiError {
    match error {
        ProofError::Invalid(reason) => {
            tracing::info!(reason, "Refused a DPoP proof");
            invalid(ErrorCode::InvalidDpopProof, reason)
        }
        ProofError::NonceNeeded(nonce) => invalid(
            ErrorCode::UseDpopNonce,
            "The DPoP proof needs the nonce in the header DPoP-Nonce of this response. Create a new \
             proof with it.",
        )
        .with_header(ErrorHeader::DpopNonce(nonce_header(&nonce))),
        ProofError::Unavailable => unavailable(),
    }
}
