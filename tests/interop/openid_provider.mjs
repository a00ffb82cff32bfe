// A certified OpenID Connect provider: oidc-provider from npm, with a client for each kind of client
// authentication and each signature algorithm. A cookie of the browser says who is signed in there.
import { createServer } from 'node:http';
import { once } from 'node:events';
import { generateKeyPairSync, randomBytes } from 'node:crypto';
import Provider from 'oidc-provider';

// The name under which the product knows each client, and what is special about it.
const CLIENTS = {
    rs256: { id_token_signed_response_alg: 'RS256' },
    ps256: { id_token_signed_response_alg: 'PS256' },
    es256: { id_token_signed_response_alg: 'ES256', token_endpoint_auth_method: 'none' },
    eddsa: { id_token_signed_response_alg: 'EdDSA' },
};

export const PROVIDERS = Object.keys(CLIENTS);

const GROUP = 'writers';

function keys() {
    const generated = [
        ['RS256', generateKeyPairSync('rsa', { modulusLength: 2048 })],
        ['PS256', generateKeyPairSync('rsa', { modulusLength: 2048 })],
        ['ES256', generateKeyPairSync('ec', { namedCurve: 'P-256' })],
        ['EdDSA', generateKeyPairSync('ed25519')],
    ];
    return generated.map(([alg, { privateKey }]) => ({
        ...privateKey.export({ format: 'jwk' }),
        use: 'sig',
        alg,
    }));
}

// Starts the provider for a server with this address. `settings` configure that server.
export async function startOpenIdProvider(origin) {
    const server = createServer().listen(0, '127.0.0.1');
    await once(server, 'listening');
    const issuer = `http://127.0.0.1:${server.address().port}`;
    const secret = `${randomBytes(24).toString('base64url')}:%+~&`;
    const clients = Object.entries(CLIENTS).map(([name, special]) => ({
        client_id: `notes-${name}`,
        client_secret: special.token_endpoint_auth_method === 'none' ? undefined : secret,
        redirect_uris: [`${origin}/oauth/${name}/callback`],
        grant_types: ['authorization_code', 'refresh_token'],
        response_types: ['code'],
        ...special,
    }));
    const provider = new Provider(issuer, {
        clients,
        jwks: { keys: keys() },
        cookies: { keys: [randomBytes(16).toString('hex')] },
        enabledJWA: { idTokenSigningAlgValues: ['RS256', 'PS256', 'ES256', 'EdDSA'] },
        claims: {
            openid: ['sub'],
            email: ['email', 'email_verified'],
            groups: ['groups'],
        },
        scopes: ['openid', 'offline_access', 'email', 'groups'],
        pkce: { required: () => true },
        features: { devInteractions: { enabled: false } },
        interactions: { url: (_, { uid }) => `/interaction/${uid}` },
        findAccount: (_, id) => ({
            accountId: id,
            claims: () => ({
                sub: id,
                email: `${id}@example.com`,
                email_verified: true,
                groups: ['readers', GROUP],
            }),
        }),
    });
    // The person means yes.
    provider.use(async (context, next) => {
        if (!context.path.startsWith('/interaction/')) return next();
        const { prompt, params, session } = await provider.interactionDetails(
            context.req,
            context.res,
        );
        let result = { login: { accountId: context.cookies.get('github-account') } };
        if (prompt.name === 'consent') {
            const { accountId } = session;
            const grant = new provider.Grant({ accountId, clientId: params.client_id });
            grant.addOIDCScope(params.scope);
            result = { consent: { grantId: await grant.save() } };
        }
        context.respond = false;
        await provider.interactionFinished(context.req, context.res, result, {
            mergeWithLastSubmission: true,
        });
    });
    const problems = [];
    for (const event of ['grant.error', 'authorization.error', 'userinfo.error', 'server_error']) {
        provider.on(event, (_, error) => problems.push(`${event}: ${error.error_description ?? error}`));
    }
    // Refresh tokens that it has issued: each client asked for one.
    let refreshTokens = 0;
    provider.on('refresh_token.saved', () => (refreshTokens += 1));
    server.on('request', provider.callback());

    const settings = {};
    for (const { client_id: id, client_secret: own } of clients) {
        const prefix = `OIDC_${id.split('-')[1].toUpperCase()}`;
        settings[`${prefix}_ISSUER`] = issuer;
        settings[`${prefix}_CLIENT_ID`] = id;
        if (own) settings[`${prefix}_CLIENT_SECRET`] = own;
        settings[`${prefix}_SCOPES`] = 'openid email groups offline_access';
        settings[`${prefix}_ALLOWED_DOMAINS`] = 'example.com';
        settings[`${prefix}_ALLOWED_GROUPS`] = GROUP;
    }
    return {
        settings,
        problems,
        refreshTokens: () => refreshTokens,
        stop() {
            server.close();
            server.closeAllConnections();
        },
    };
}
