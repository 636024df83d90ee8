// A file of its own, since the page's content security policy allows no script inside it.
const page = SwaggerUIBundle({
  url: "openapi.json",
  dom_id: "#api",
  layout: "BaseLayout",
  presets: [SwaggerUIBundle.presets.apis],
  deepLinking: true,
  displayRequestDuration: true,
  defaultModelsExpandDepth: 0,
  validatorUrl: null,
  onComplete: () => {
    document.title = page.specSelectors.info().get("title");
  },
});
