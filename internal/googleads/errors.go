package googleads

import (
	"time"

	"adsync/internal/ads"
)

// Codes of errors that a connector's own code looks at.
const (
	codeVersion = "UNSUPPORTED_VERSION"
	codeOutage  = "outage"    // the client's own: the host answers nobody
	codeBody    = "body_size" // and: more than it takes
)

const (
	hintLogin   = "somebody has to log in again: adsync auth google, and configure the new refresh_token"
	hintRights  = "check login_customer_id: it must be the manager by which access is granted; and give the user at least read-only access to this account in Google Ads"
	hintRoot    = "check login_customer_id, or leave it out so that it is found: the account does not hang below that manager (any more)"
	hintAccount = "the account is closed, suspended or not set up yet: it is asked for again with the next run"
	hintProject = "raise the access level of the Google Cloud project that the credentials belong to (Google Ads API Center, or the API's page in the Cloud console); test access reads test accounts only"
	hintAgain   = "; then ask for a run: what was refused is not tried again by itself"
	hintScope   = "the token lacks the scope https://www.googleapis.com/auth/adwords: authorise adsync again"
	hintEnable  = "enable the Google Ads API in the Google Cloud project that the credentials belong to"
	hintDevTok  = "configure credentials.developer_token, or a newer version of the API, which needs none"
	hintNewOne  = "an account that was made just now is known after about five minutes; check the id"
	hintVersion = "set api_version to one that works, such as " + DefaultVersion + ": adsync platforms lists them"
	hintQuery   = "the query does not fit this version of the API: set api_version to " + DefaultVersion
	hintUsage   = "the queries use too many resources: shorter ranges of days use less"
)

// rule is what an error of the platform means.
type rule struct {
	class ads.Class
	wait  time.Duration // of a throttle that tells none
	hint  string
}

// anyValue holds for the values of a family that are not listed.
const anyValue = ""

func several(r rule, values ...string) map[string]rule {
	out := make(map[string]rule, len(values))
	for _, v := range values {
		out[v] = r
	}
	return out
}

func family(parts ...map[string]rule) map[string]rule {
	out := map[string]rule{}
	for _, p := range parts {
		for v, r := range p {
			out[v] = r
		}
	}
	return out
}

// rules are by family and value of errorCode. A family that is not here is judged by the status of HTTP.
var rules = map[string]map[string]rule{
	"authenticationError": family(
		several(rule{class: ads.ClassTokenDead, hint: hintLogin}, "OAUTH_TOKEN_EXPIRED", "OAUTH_TOKEN_INVALID", "OAUTH_TOKEN_HEADER_INVALID", "GOOGLE_ACCOUNT_COOKIE_INVALID"),
		several(rule{class: ads.ClassAuth, hint: hintLogin}, "OAUTH_TOKEN_REVOKED", "OAUTH_TOKEN_DISABLED", "GOOGLE_ACCOUNT_DELETED", "GOOGLE_ACCOUNT_AUTHENTICATION_FAILED"),
		several(rule{class: ads.ClassAuth, hint: "the Google account that has logged in has no access to Google Ads: invite it to the account, or log in with another"}, "NOT_ADS_USER"),
		several(rule{class: ads.ClassAuth, hint: "the Google account that has logged in needs two-step verification, or the protection that the platform names"}, "TWO_STEP_VERIFICATION_NOT_ENROLLED", "ADVANCED_PROTECTION_NOT_ENROLLED"),
		several(rule{class: ads.ClassAuth, hint: hintDevTok}, "DEVELOPER_TOKEN_INVALID"),
		several(rule{class: ads.ClassAuth, hint: hintProject + hintAgain}, "CLOUD_PROJECT_NOT_FOUND"),
		several(rule{class: ads.ClassDenied, hint: hintNewOne}, "CUSTOMER_NOT_FOUND", "CLIENT_CUSTOMER_ID_INVALID", "CLIENT_CUSTOMER_ID_IS_REQUIRED"),
		several(rule{class: ads.ClassDenied, hint: hintRoot}, "LOGIN_CUSTOMER_ID_INVALID"),
	),
	"authorizationError": family(
		several(rule{class: ads.ClassDenied, hint: hintRights}, "USER_PERMISSION_DENIED", anyValue),
		several(rule{class: ads.ClassDenied, hint: hintRoot}, "INVALID_LOGIN_CUSTOMER_ID_SERVING_CUSTOMER_ID_COMBINATION"),
		several(rule{class: ads.ClassDenied, hint: hintAccount}, "CUSTOMER_NOT_ENABLED", "INCOMPLETE_SIGNUP", "MISSING_TOS"),
		several(rule{class: ads.ClassAuth, hint: hintProject + hintAgain},
			"CLOUD_PROJECT_NOT_APPROVED_FOR_PRODUCTION", "DEVELOPER_TOKEN_NOT_APPROVED", "DEVELOPER_TOKEN_NOT_ON_ALLOWLIST", "DEVELOPER_TOKEN_PROHIBITED", "PROJECT_DISABLED", "CLOUD_PROJECT_NOT_FOUND"),
		several(rule{class: ads.ClassPermanent, hint: "the account's type does not give these figures to this user"}, "METRIC_ACCESS_DENIED", "ACCESS_DENIED_FOR_ACCOUNT_TYPE"),
	),
	"headerError": several(rule{class: ads.ClassDenied, hint: hintRoot}, "INVALID_LOGIN_CUSTOMER_ID", "INVALID_USER_SELECTED_CUSTOMER_ID"),
	"requestError": family(
		several(rule{class: ads.ClassPermanent}, anyValue, "PAGE_SIZE_NOT_SUPPORTED"),
		several(rule{class: ads.ClassPermanent, hint: hintVersion}, codeVersion),
		several(rule{class: ads.ClassStaleCursor}, "EXPIRED_PAGE_TOKEN", "INVALID_PAGE_TOKEN"),
		several(rule{class: ads.ClassTooLarge}, "RPC_DEADLINE_TOO_SHORT"),
		several(rule{class: ads.ClassDenied, hint: hintRoot}, "LOGIN_CUSTOMER_ID_PARAMETER_MISSING"),
		several(rule{class: ads.ClassDenied, hint: hintNewOne}, "INVALID_CUSTOMER_ID"),
		several(rule{class: ads.ClassAuth, hint: hintDevTok}, "DEVELOPER_TOKEN_PARAMETER_MISSING"),
	),
	"quotaError": family(
		several(rule{class: ads.ClassThrottled}, anyValue, "RESOURCE_TEMPORARILY_EXHAUSTED"),
		several(rule{class: ads.ClassThrottled, wait: 30 * time.Minute, hint: hintProject}, "RESOURCE_EXHAUSTED"),
		several(rule{class: ads.ClassThrottled, wait: 5 * time.Minute, hint: hintUsage}, "EXCESSIVE_SHORT_TERM_QUERY_RESOURCE_CONSUMPTION"),
		several(rule{class: ads.ClassThrottled, wait: 4 * time.Hour, hint: hintUsage}, "EXCESSIVE_LONG_TERM_QUERY_RESOURCE_CONSUMPTION"),
		several(rule{class: ads.ClassAuth, hint: hintProject + hintAgain}, "ACCESS_PROHIBITED"),
	),
	"internalError": family(
		several(rule{class: ads.ClassTransient}, anyValue, "INTERNAL_ERROR", "TRANSIENT_ERROR"),
		several(rule{class: ads.ClassTooLarge}, "DEADLINE_EXCEEDED"),
		several(rule{class: ads.ClassPermanent, hint: hintVersion}, "ERROR_CODE_NOT_PUBLISHED"),
	),
	"databaseError": several(rule{class: ads.ClassTransient}, anyValue),
	"queryError": family(
		several(rule{class: ads.ClassPermanent, hint: hintQuery}, anyValue),
		several(rule{class: ads.ClassTooLarge}, "DATE_RANGE_TOO_WIDE"),
		several(rule{class: ads.ClassPermanent, hint: "a manager has no figures of its own: exclude this account"}, "REQUESTED_METRICS_FOR_MANAGER"),
	),
	"dateRangeError": family(several(rule{class: ads.ClassPermanent}, anyValue), several(rule{class: ads.ClassTooLarge}, "DATE_RANGE_TOO_WIDE")),
	"sizeLimitError": several(rule{class: ads.ClassTooLarge}, anyValue, "RESPONSE_SIZE_LIMIT_EXCEEDED"),
}

// ruleOf is the rule of an error; its class is ads.ClassOK where none is known.
func ruleOf(family, value string) rule {
	if r, ok := rules[family][value]; ok {
		return r
	}
	return rules[family][anyValue]
}

// severity orders the classes of several errors of one answer: what ends more weighs more.
var severity = map[ads.Class]int{
	ads.ClassTransient: 1, ads.ClassThrottled: 2, ads.ClassTooLarge: 3, ads.ClassStaleCursor: 4, ads.ClassPermanent: 5, ads.ClassDenied: 6, ads.ClassTokenDead: 7, ads.ClassAuth: 8,
}

// reasons are those of google.rpc.ErrorInfo, which the front end gives where a call did not come to the API.
var reasons = map[string]rule{
	"SERVICE_DISABLED":                {class: ads.ClassAuth, hint: hintEnable + hintAgain},
	"CONSUMER_INVALID":                {class: ads.ClassAuth, hint: hintEnable + hintAgain},
	"CONSUMER_SUSPENDED":              {class: ads.ClassAuth, hint: hintProject + hintAgain},
	"BILLING_DISABLED":                {class: ads.ClassAuth, hint: hintProject + hintAgain},
	"ACCESS_TOKEN_SCOPE_INSUFFICIENT": {class: ads.ClassAuth, hint: hintScope},
	"ACCESS_TOKEN_EXPIRED":            {class: ads.ClassTokenDead, hint: hintLogin},
	"ACCESS_TOKEN_TYPE_UNSUPPORTED":   {class: ads.ClassTokenDead, hint: hintLogin},
	"CREDENTIALS_MISSING":             {class: ads.ClassTokenDead, hint: hintLogin},
	"ACCOUNT_STATE_INVALID":           {class: ads.ClassAuth, hint: hintLogin},
	"RATE_LIMIT_EXCEEDED":             {class: ads.ClassThrottled},
	"RESOURCE_QUOTA_EXCEEDED":         {class: ads.ClassThrottled, wait: 30 * time.Minute},
}

// hintsToken are by the error that the token endpoint names.
var hintsToken = map[string]string{
	"invalid_grant":          hintLogin + "; where the consent screen of the project is in testing, its refresh tokens end after seven days: publish it. With a service account, check its key and this machine's clock",
	"invalid_client":         "check credentials.client_id and credentials.client_secret: they must be those of the client that the refresh token was given to",
	"unauthorized_client":    "check credentials.client_id and credentials.client_secret: they must be those of the client that the refresh token was given to",
	"deleted_client":         "the client has been deleted in the Google Cloud console: make another, and log in again: adsync auth google",
	"invalid_scope":          hintScope,
	"invalid_request":        "check credentials: either client_id, client_secret and refresh_token, or service_account with the whole JSON key",
	"unsupported_grant_type": "check credentials: either client_id, client_secret and refresh_token, or service_account with the whole JSON key",
}
