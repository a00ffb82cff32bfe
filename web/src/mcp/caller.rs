//! Authentication at the MCP endpoint: the `Authorization` header, and for a token that is bound to a
//! key the `DPoP` header, become a `Caller`, or a challenge that tells the client how to get a token
//! (RFC 6750 section 3, RFC 9449 section 7, RFC 9728 section 5.1).

use std::sync::Arc;

use ::mcp::{
    Caller,
    http::{Challenge, Scheme, TokenProblem, bearer, dpop as dpop_token},
};
use app::App;
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use oauth::{
    access_token::{Claims, TokenError},
    dpop::{self, Mode, ProofError, ProofTarget, TokenProof},
};

use super::paths::{PROTECTED_RESOURCE_MCP, PROTECTED_RESOURCE_MCP_SLASH};
use crate::http::{
    dpop::{nonce_header, proof},
    error::{ApiError, ErrorHeader},
};

/// The scheme of tokens that are bound to a key.
const DPOP: Scheme = Scheme::Dpop(dpop::ALGORITHMS);

/// An authenticated request.
pub(crate) struct Authenticated {
    pub(crate) caller: Caller,
    /// How the client sent its token.
    pub(crate) scheme: Scheme,
    /// A new nonce for the proofs of the client, for the response.
    pub(crate) dpop_nonce: Option<HeaderValue>,
}

/// Why a request has no caller.
pub(crate) enum CallerError {
    /// The access token, or the proof of its key, is missing, malformed or invalid.
    Challenge {
        challenge: Challenge,
        /// The schemes that the response offers. The error of the challenge belongs to the first.
        schemes: &'static [Scheme],
        /// The nonce for the next proof.
        dpop_nonce: Option<HeaderValue>,
    },
    /// The token or the proof cannot be verified, because a dependency is unavailable.
    Unavailable,
}

impl CallerError {
    /// Whether the token was invalid for this server, which may be an attempt to guess one.
    pub(crate) fn is_for_invalid_token(&self) -> bool {
        matches!(self, Self::Challenge { challenge, .. } if challenge.is_for_invalid_token())
    }
}

impl From<CallerError> for ApiError {
    fn from(error: CallerError) -> Self {
        let CallerError::Challenge { challenge, schemes, dpop_nonce } = error else {
            return Self::unavailable(
                "The access token cannot be checked at the moment. Keep it and try again in a few \
                 seconds.",
            );
        };
        let without_error = challenge.without_error();
        let headers = schemes.iter().enumerate().map(|(index, scheme)| match index {
            0 => challenge.header_as(*scheme),
            _ => without_error.header_as(*scheme),
        });
        Self::new(StatusCode::UNAUTHORIZED, challenge.code(), challenge.description())
            .with_header(ErrorHeader::Challenges(headers.collect(), dpop_nonce))
    }
}

/// Authenticates a request by its access token, and by the proof of the key that the token is bound
/// to, if it is. Only headers are read: a token in the query would end up in logs and browser
/// histories. `path`: the path of the MCP endpoint as the client wrote it.
pub(crate) async fn authenticate(
    app: &App,
    method: &Method,
    path: &str,
    headers: &HeaderMap,
) -> Result<Authenticated, CallerError> {
    let mode = app.oauth().dpop().mode();
    let request = Request { app, method, path, headers, mode };
    match bearer(headers) {
        Ok(_) if mode.is_required() => {
            Err(request.challenge(Scheme::Bearer, TokenProblem::BearerNotAccepted))
        }
        Ok(token) => {
            let claims = request.verify(token, Scheme::Bearer).await?;
            if claims.dpop_key.is_some() {
                let problem =
                    if mode.is_on() { TokenProblem::SentAsBearer } else { TokenProblem::Invalid };
                return Err(request.challenge(Scheme::Bearer, problem));
            }
            Ok(Authenticated { caller: claims.caller(), scheme: Scheme::Bearer, dpop_nonce: None })
        }
        Err(TokenProblem::Missing) if mode.is_on() => {
            // Boxed: most requests have a bearer token, and should not carry this large future.
            Box::pin(request.authenticate_by_proof()).await
        }
        Err(problem) => Err(request.challenge(Scheme::Bearer, problem)),
    }
}

/// The parts of a request that authentication depends on.
#[derive(Clone, Copy)]
struct Request<'a> {
    app: &'a App,
    method: &'a Method,
    path: &'a str,
    headers: &'a HeaderMap,
    mode: Mode,
}

impl Request<'_> {
    /// Authenticates a request whose token is not a bearer token.
    async fn authenticate_by_proof(self) -> Result<Authenticated, CallerError> {
        let token = dpop_token(self.headers).map_err(|problem| match problem {
            TokenProblem::Missing => self.challenge(Scheme::Bearer, problem),
            _ => self.challenge(DPOP, problem),
        })?;
        let claims = self.verify(token, DPOP).await?;
        let Some(key) = &claims.dpop_key else {
            let problem = match self.mode {
                Mode::Required => TokenProblem::BearerNotAccepted,
                _ => TokenProblem::SentAsDpop,
            };
            return Err(self.challenge(DPOP, problem));
        };
        let proof = proof(self.headers).map_err(|error| self.proof_error(error))?;
        let proof = proof.ok_or_else(|| {
            let reason = "A token that is bound to a key needs a proof in the DPoP header.";
            self.challenge(DPOP, TokenProblem::InvalidProof(reason))
        })?;
        let target = ProofTarget {
            method: self.method.as_str(),
            path: self.path,
            token: Some(TokenProof { token, key }),
        };
        let checked = self.app.oauth().dpop().check(proof, target).await;
        let proven = checked.map_err(|error| self.proof_error(error))?;
        Ok(Authenticated {
            caller: claims.caller(),
            scheme: DPOP,
            dpop_nonce: proven.next_nonce.as_deref().map(nonce_header),
        })
    }

    /// Verifies a token, except for the proof of its key.
    async fn verify(self, token: &str, scheme: Scheme) -> Result<Arc<Claims>, CallerError> {
        let problem = match self.app.oauth().tokens().verify(token).await {
            Ok(claims) => return Ok(claims),
            Err(TokenError::Unavailable) => return Err(CallerError::Unavailable),
            Err(TokenError::Expired) => TokenProblem::Expired,
            Err(TokenError::Malformed) => TokenProblem::Invalid,
            Err(TokenError::Invalid(reason)) => {
                tracing::debug!(reason, "Refused an access token");
                TokenProblem::Invalid
            }
        };
        Err(self.challenge(scheme, problem))
    }

    fn proof_error(&self, error: ProofError) -> CallerError {
        match error {
            ProofError::Invalid(reason) => {
                tracing::debug!(reason, "Refused a DPoP proof");
                self.challenge(DPOP, TokenProblem::InvalidProof(reason))
            }
            ProofError::NonceNeeded(nonce) => CallerError::Challenge {
                challenge: self.new_challenge(TokenProblem::NonceNeeded),
                schemes: &[DPOP],
                dpop_nonce: Some(nonce_header(&nonce)),
            },
            ProofError::Unavailable => CallerError::Unavailable,
        }
    }

    /// The response to a request whose token was sent with this scheme. If that was DPoP, the response
    /// offers DPoP only, as RFC 9449 does in its examples. Otherwise, it offers every scheme that the
    /// server accepts, and `Bearer` first, because many clients read only the first one.
    fn challenge(&self, scheme: Scheme, problem: TokenProblem) -> CallerError {
        let schemes: &[Scheme] = match (self.mode, scheme) {
            (Mode::Off, _) => &[Scheme::Bearer],
            (Mode::Allowed, Scheme::Bearer) => &[Scheme::Bearer, DPOP],
            (Mode::Allowed, Scheme::Dpop(_)) | (Mode::Required, _) => &[DPOP],
        };
        CallerError::Challenge { challenge: self.new_challenge(problem), schemes, dpop_nonce: None }
    }

    /// The challenge names all default scopes, so that one consent is enough. A client that asked for
    /// fewer gets an `insufficient_scope` challenge when it needs more, but the TypeScript SDK v1,
    /// which most clients use, then refreshes its token instead of starting a new authorization, and
    /// never gets the scope.
    fn new_challenge(&self, problem: TokenProblem) -> Challenge {
        let defaults = self.app.product().scopes().defaults();
        let defaults: Vec<_> = defaults.iter().collect();
        let metadata = Some(resource_metadata(self.app, self.path));
        Challenge::new(problem, metadata, &defaults)
    }
}

/// The URL of the metadata document for the endpoint that the client uses, `/mcp` or `/mcp/`: a
/// strict client compares the `resource` of the document with the endpoint's URL (RFC 9728 section
/// 3.3).
pub(super) fn resource_metadata(app: &App, path: &str) -> String {
    let metadata =
        if path.ends_with('/') { PROTECTED_RESOURCE_MCP_SLASH } else { PROTECTED_RESOURCE_MCP };
    format!("{}{metadata}", app.config().public_url)
}
