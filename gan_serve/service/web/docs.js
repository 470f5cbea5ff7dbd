/** Shows the OpenAPI document; requests carry the key that the explorer page asked for in this tab. */

window.SwaggerUIBundle({
  url: "./docs.json",
  dom_id: "#swagger-ui",
  deepLinking: true,
  validatorUrl: null,
  requestInterceptor: (request) => {
    const key = sessionStorage.getItem("gan-serve-key");
    if (key) request.headers.Authorization ??= `Bearer ${key}`;
    return request;
  },
});
